// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_cxx.cc - C++ under watch: exceptions through allocating frames, static destructors.
 *
 * Runs in:    the program under test
 * Threads:    four
 * Allocates:  through operator new, containers and exceptions
 * Fails:      exit 1
 */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace
{

struct Registry {
    std::map<int, std::string> names;

    Registry()
    {
        for (int i = 0; i < 500; i++)
            names[i] = std::string(static_cast<std::size_t>(i), 'x');
    }

    ~Registry()
    {
        std::size_t sum = 0;
        for (const auto &entry : names)
            sum += entry.second.size();
        std::printf("registry held %zu bytes\n", sum);
    }
};

Registry registry;
thread_local std::vector<std::string> per_thread;

struct alignas(256) Wide {
    char bytes[512];
};

int descend(int depth)
{
    const std::string local(200, 'y');
    if (depth == 0)
        throw std::runtime_error(std::string("bottom ") + local.substr(0, 5));
    return descend(depth - 1) + static_cast<int>(local.size());
}

int catch_many(int count)
{
    int caught = 0;
    for (int i = 0; i < count; i++) {
        try {
            descend(i % 30);
        } catch (const std::runtime_error &error) {
            caught += std::string(error.what()) == "bottom yyyyy";
        }
    }
    return caught;
}

bool new_fails_as_it_should()
{
    volatile std::size_t huge = static_cast<std::size_t>(-1) / 2 - 4096;
    /* Volatile, or the compiler may leave both calls out. */
    char *volatile const refused = new (std::nothrow) char[huge];
    const bool is_refused = refused == nullptr;
    delete[] refused;
    if (!is_refused)
        return false;
    try {
        std::unique_ptr<char[]> block(new char[huge]);
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

} // namespace

int main()
{
    std::vector<std::thread> threads;
    std::vector<int> caught(4);
    for (std::size_t t = 0; t < caught.size(); t++)
        threads.emplace_back([t, &caught] {
            for (int i = 0; i < 100; i++)
                per_thread.emplace_back(100, 'z');
            caught[t] = catch_many(500);
        });
    for (auto &thread : threads)
        thread.join();
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 100; i++)
        wide.push_back(std::make_unique<Wide>());
    bool aligned = true;
    for (const auto &block : wide)
        aligned = aligned && reinterpret_cast<std::size_t>(block.get()) % 256 == 0;
    std::printf("caught %d %d %d %d, aligned %d, new %d\n", caught[0], caught[1], caught[2],
                caught[3], aligned, new_fails_as_it_should());
    return aligned ? 5 : 1;
}
