// SPDX-License-Identifier: Apache-2.0
/*
 * serve_host.c - which Host headers are ours.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never: what is not understood is refused
 */
#include "serve/serve_host.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { NAME_BYTES = 64 };

/* An address in either family as 16 bytes, IPv4 mapped into IPv6. */
static bool parse_address(const char *text, struct in6_addr *out)
{
    struct in_addr v4;

    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    memset(out, 0, sizeof(*out));
    out->s6_addr[10] = out->s6_addr[11] = 0xFF;
    memcpy(&out->s6_addr[12], &v4, sizeof(v4));
    return true;
}

/* Empty, or a colon and up to five digits. */
static bool is_port(const char *text)
{
    if (!*text)
        return true;
    const size_t digits = strspn(text + 1, "0123456789");
    return *text == ':' && digits >= 1 && digits <= 5 && !text[1 + digits];
}

/* The name without brackets and port. */
static bool split_name(const char *host, char name[NAME_BYTES])
{
    const bool bracketed = *host == '[';
    const char *const begin = host + bracketed;
    const size_t length = strcspn(begin, bracketed ? "]" : ":");

    if (length == 0 || length >= NAME_BYTES || (bracketed && begin[length] != ']'))
        return false;
    memcpy(name, begin, length);
    name[length] = '\0';
    return (!bracketed || strchr(name, ':')) && is_port(begin + length + bracketed);
}

static bool is_wildcard(const struct in6_addr *address)
{
    struct in6_addr any;

    return IN6_IS_ADDR_UNSPECIFIED(address) ||
           (parse_address("0.0.0.0", &any) && IN6_ARE_ADDR_EQUAL(address, &any));
}

/* What this machine calls itself. No name server is asked: whoever owns one owns its answers. */
static bool is_own_name(const char *name)
{
    char own[NAME_BYTES] = "";

    if (gethostname(own, sizeof(own) - 1) < 0 || !own[0])
        return false;
    if (strcasecmp(name, own) == 0)
        return true;
    own[strcspn(own, ".")] = '\0';
    return own[0] && strcasecmp(name, own) == 0;
}

static bool is_loopback(const struct in6_addr *address)
{
    static const uint8_t mapped[13] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127};

    return IN6_IS_ADDR_LOOPBACK(address) || memcmp(address, mapped, sizeof(mapped)) == 0;
}

bool rtd_serve_host_allowed(const char *host, const char *bound)
{
    char name[NAME_BYTES];
    struct in6_addr asked, own, loopback;

    if (!split_name(host, name))
        return false;
    if (strcasecmp(name, "localhost") == 0)
        return true;
    if (!parse_address(name, &asked))
        return parse_address(bound, &own) && !is_loopback(&own) && is_own_name(name);
    if (IN6_IS_ADDR_LOOPBACK(&asked) ||
        (parse_address("127.0.0.1", &loopback) && IN6_ARE_ADDR_EQUAL(&asked, &loopback)))
        return true;
    return parse_address(bound, &own) && (is_wildcard(&own) || IN6_ARE_ADDR_EQUAL(&asked, &own));
}
