// SPDX-License-Identifier: Apache-2.0
/*
 * cpp_service.cc - RipTide in C++: a manager that closes itself, scopes that end with the block,
 * and an allocator for containers that records what they hold.
 *
 * Runs in:    a process of its own
 * Threads:    main; the manager has one in the background
 * Allocates:  by operator new, each block recorded
 * Fails:      by exit status 1 and one sentence on stderr
 */
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <riptide/riptide.h>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

struct CloseManager {
    void operator()(riptide_manager *manager) const
    {
        riptide_manager_close(manager);
    }
};
using Manager = std::unique_ptr<riptide_manager, CloseManager>;

struct FreeParts {
    void operator()(const riptide_parts *parts) const
    {
        riptide_parts_free(parts);
    }
};
using Parts = std::unique_ptr<const riptide_parts, FreeParts>;

Manager open_manager()
{
    riptide_options options;
    riptide_options_init(&options);
    options.endpoints = 0;
    int error = 0;
    Manager manager(riptide_manager_open(&options, &error));
    if (!manager)
        throw std::runtime_error(riptide_strerror(error));
    return manager;
}

/* For any standard container: its blocks are charged to a component and operation. */
template <class T> class RecordingAllocator
{
  public:
    using value_type = T;

    RecordingAllocator(riptide_manager *manager, const char *component, const char *operation)
        : manager_(manager), tag_(riptide_intern(manager, component, operation))
    {
    }

    template <class U>
    RecordingAllocator(const RecordingAllocator<U> &other)
        : manager_(other.manager()), tag_(other.tag())
    {
    }

    T *allocate(std::size_t count)
    {
        T *const block = std::allocator<T>().allocate(count);
        riptide_record_block(manager_, tag_, block, count * sizeof(T), 0);
        return block;
    }

    void deallocate(T *block, std::size_t count)
    {
        riptide_release_block(manager_, block);
        std::allocator<T>().deallocate(block, count);
    }

    riptide_manager *manager() const
    {
        return manager_;
    }

    std::uint32_t tag() const
    {
        return tag_;
    }

  private:
    riptide_manager *manager_;
    std::uint32_t tag_;
};

template <class T, class U>
bool operator==(const RecordingAllocator<T> &a, const RecordingAllocator<U> &b)
{
    return a.manager() == b.manager();
}

template <class T, class U>
bool operator!=(const RecordingAllocator<T> &a, const RecordingAllocator<U> &b)
{
    return !(a == b);
}

using Body = std::vector<char, RecordingAllocator<char>>;

/* Answers requests, and keeps what it answered. */
class Service
{
  public:
    explicit Service(riptide_manager *manager) : manager_(manager)
    {
    }

    void handle(const std::string &path)
    {
        RIPTIDE_SCOPE("service", "handle");
        if (path.empty())
            throw std::invalid_argument("a request without a path");
        Body body(page_bytes, ' ', RecordingAllocator<char>(manager_, "cache", "store_page"));
        cache_.emplace(path, std::move(body));
        note_request();
    }

    void forget()
    {
        cache_.clear();
    }

  private:
    static constexpr std::size_t page_bytes = 20000;
    static constexpr std::size_t note_bytes = 10;

    /* Without a tag of its own: charged to the scope in force. */
    void note_request()
    {
        riptide_record_bytes(manager_, 0, note_bytes);
    }

    riptide_manager *manager_;
    std::map<std::string, Body> cache_;
};

void show(riptide_manager *manager, const char *when)
{
    const riptide_parts *answer = nullptr;
    const int error = riptide_memory_breakdown(manager, &answer);
    if (error < 0)
        throw std::runtime_error(riptide_strerror(error));
    const Parts parts(answer);
    for (std::uint32_t i = 0; i < parts->count; i++) {
        const riptide_part &part = *parts->parts[i];
        if (part.domain == std::string("records") && part.bytes > 0)
            std::cout << when << ": " << part.name << " holds " << part.bytes << " bytes\n";
    }
}

void run()
{
    const Manager manager = open_manager();
    Service service(manager.get());
    for (int i = 0; i < 100; i++)
        service.handle("/page/" + std::to_string(i));
    try {
        service.handle("");
    } catch (const std::invalid_argument &) {
        /* The scope has ended with the call: this belongs to none. */
        riptide_record_bytes(manager.get(), 0, 1);
    }
    show(manager.get(), "serving");
    service.forget();
    show(manager.get(), "after forget()");
}

} // namespace

int main()
{
    try {
        run();
    } catch (const std::exception &error) {
        std::cerr << "cpp_service: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
