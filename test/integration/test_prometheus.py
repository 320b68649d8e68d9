# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes a real run, and the seed's queries return data."""
import json
import subprocess
import unittest
import urllib.parse

import riptide_test

PROGRAM = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *kept[100000];
int main(void)
{
    for (int i = 0; i < 100000; i++) {
        kept[i] = malloc(1000);
        memset(kept[i], 1, 1000);
        free(malloc(500));
        if (i % 200 == 0)
            usleep(20000);
    }
    return 0;
}
"""
CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: riptide
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""
# Name of the compatibility metric that Prometheus' own linter does not like.
RESERVED = "riptide_leak_potential_count"


class PrometheusTest(riptide_test.RiptideTest):
    def setUp(self):
        super().setUp()
        self.port = riptide_test.free_port()
        self.start("run", "--quiet", "--listen", f"127.0.0.1:{self.port}", "-o",
                   self.path("out.riptide"), "--", self.compile("service", PROGRAM))
        riptide_test.wait_for(self.is_ready, "the run is ready")

    def is_ready(self):
        try:
            return riptide_test.get(f"http://127.0.0.1:{self.port}/readyz")
        except OSError:
            return None

    def start_prometheus(self):
        prometheus = riptide_test.need("prometheus")
        port = riptide_test.free_port()
        self.write("prometheus.yml", CONFIG.format(port=self.port))
        with open(self.path("log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [prometheus, "--config.file", self.path("prometheus.yml"), "--storage.tsdb.path",
                 self.path("data"), "--web.listen-address", f"127.0.0.1:{port}"],
                stdout=log, stderr=log, cwd=self.folder)

        def end():
            process.kill()
            process.wait()
        self.addCleanup(end)
        return port

    def query(self, port, text):
        try:
            answer = json.loads(riptide_test.get(
                f"http://127.0.0.1:{port}/api/v1/query?query=" + urllib.parse.quote(text)))
        except OSError:
            return None
        return answer["data"]["result"]

    def test_the_seeds_queries_return_data(self):
        port = self.start_prometheus()
        riptide_test.wait_for(lambda: self.query(port, "riptide_memory_rss_bytes > 0"),
                              "the first scrape", 30)
        for text in ("riptide_memory_heap_bytes > 0", "riptide_memory_virtual_bytes > 0",
                     "riptide_leak_potential_count >= 0", "riptide_leak_suspects >= 0",
                     "riptide_allocation_efficiency_score <= 1",
                     'topk(10, riptide_allocation_bytes_by_component{component="service"}) > 0',
                     "up{job=\"riptide\"} == 1"):
            self.assertTrue(riptide_test.wait_for(lambda: self.query(port, text), text), text)
        riptide_test.wait_for(lambda: self.query(port, "rate(riptide_memory_rss_bytes[5m])"),
                              "two scrapes", 30)
        riptide_test.wait_for(lambda: self.query(port, "rate(riptide_allocations_total[5m]) > 0"),
                              "a rate of allocations", 30)

    def test_promtool_minds_the_reserved_name_alone(self):
        promtool = riptide_test.need("promtool")
        page = riptide_test.get(f"http://127.0.0.1:{self.port}/metrics")
        run = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True,
                             text=True, check=False)
        complaints = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        self.assertTrue(all(line.startswith(RESERVED) for line in complaints), complaints)
        rest = "".join(line for line in page.splitlines(keepends=True) if RESERVED not in line)
        run = subprocess.run([promtool, "check", "metrics"], input=rest, capture_output=True,
                             text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    riptide_test.main()
