// SPDX-License-Identifier: Apache-2.0
/*
 * bench_list.cc - sixteen threads, each of which fills a std::list<int> and empties it.
 *
 * Runs in:    a process of its own, with and without a profiler
 * Threads:    argument 2 (default 16)
 * Allocates:  argument 1 list nodes a thread (default 4,200,000) of 24 bytes, all alive at once
 * Fails:      by exit status 1 for wrong usage, or when a list does not give back what was put in
 *
 * Why: it is the shape of a benchmark that a peer publishes its figures for, written anew from its
 * description: the pushes first, then the pops, through operator new and delete, and no other work.
 * bench_list [NODES_A_THREAD [THREADS]]
 */
#include <cstdio>
#include <cstdlib>
#include <list>
#include <thread>
#include <vector>

static void fill_and_empty(unsigned long nodes, long long *left)
{
    std::list<int> list;
    long long sum = 0;

    for (unsigned long i = 0; i < nodes; i++) {
        list.push_back(static_cast<int>(i & 0xffff));
        sum += static_cast<int>(i & 0xffff);
    }
    while (!list.empty()) {
        sum -= list.front();
        list.pop_front();
    }
    *left = sum;
}

int main(int argc, char **argv)
{
    const unsigned long nodes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 4200000;
    const unsigned long count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 16;
    long long wrong = 0;

    if (nodes < 1 || count < 1 || count > 1024) {
        std::fprintf(stderr, "usage: bench_list [NODES_A_THREAD [THREADS (1..1024)]]\n");
        return 1;
    }
    std::vector<long long> left(count, 1);
    std::vector<std::thread> threads;
    for (unsigned long i = 0; i < count; i++) {
        threads.emplace_back(fill_and_empty, nodes, &left[i]);
    }
    for (unsigned long i = 0; i < count; i++) {
        threads[i].join();
        wrong += left[i] != 0;
    }
    std::printf("threads=%lu nodes=%lu wrong=%lld\n", count, nodes, wrong);
    return wrong != 0;
}
