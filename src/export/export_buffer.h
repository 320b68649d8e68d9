// SPDX-License-Identifier: Apache-2.0
/*
 * export_buffer.h - a growing text buffer and the JSON writer on top of it.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    a buffer belongs to one thread at a time
 * Allocates:  the buffer's own storage
 * Fails:      the buffer remembers that memory was short and ignores what follows; ask once, at
 *             the end, with rtd_buffer_failed()
 *
 * Why the failure is remembered and not returned: a report is thousands of small writes, and the
 * only sensible answer to a failure of any of them is to throw the whole text away.
 *
 * Why an own JSON writer: names come from a stranger's program. The writer guarantees valid UTF-8,
 * exact 63-bit integers and finite numbers, whatever it is given.
 */
#ifndef RTD_EXPORT_BUFFER_H
#define RTD_EXPORT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rtd_buffer {
    char *data; /* owned; NUL-terminated unless NULL */
    size_t length_bytes, capacity_bytes;
    bool failed; /* stays true until _fini() or _take() */
};

/* Prepares an empty buffer; allocates nothing yet. */
void rtd_buffer_init(struct rtd_buffer *buffer);

/* Frees the storage and leaves an empty buffer. */
void rtd_buffer_fini(struct rtd_buffer *buffer);

/* True when memory was short at any time: the text is cut and must not be used. */
bool rtd_buffer_failed(const struct rtd_buffer *buffer);

/* The text, NUL-terminated, never NULL; borrowed until the next write. */
const char *rtd_buffer_get(const struct rtd_buffer *buffer);

/*
 * Hands the text over: the caller frees it with free(). NULL when the buffer failed; *length_bytes
 * (without the NUL) is then not set. Either way the buffer is empty afterwards, fit for use again.
 */
char *rtd_buffer_take(struct rtd_buffer *buffer, size_t *length_bytes);

/*
 * Append; what is given is copied and must not lie in the buffer itself. Bytes pass as they are:
 * escaping and repair of UTF-8 are the business of the writers above.
 */
void rtd_buffer_append(struct rtd_buffer *buffer, const void *bytes, size_t count_bytes);
void rtd_buffer_puts(struct rtd_buffer *buffer, const char *text);
void rtd_buffer_putc(struct rtd_buffer *buffer, char c);
void rtd_buffer_printf(struct rtd_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One code point as UTF-8; the caller vouches that it is one, as rtd_utf8_next() does. */
void rtd_buffer_put_code(struct rtd_buffer *buffer, uint32_t code);

/* A finite number in the fewest digits that read back as the same double, with a point in every
 * locale; false and nothing written when it is not finite. */
bool rtd_buffer_put_double(struct rtd_buffer *buffer, double value);

enum { RTD_UTF8_REPLACEMENT = 0xFFFD };

/*
 * Takes one code point off *text (a string), 0 at its end. Bytes that are not UTF-8 (also overlong
 * forms and surrogates) come out as RTD_UTF8_REPLACEMENT, one for each wrong start.
 */
uint32_t rtd_utf8_next(const char **text);

enum { RTD_JSON_DEPTH_MAX = 64 };

/*
 * Writes one JSON value. The key is NULL in arrays and for the outermost value. Keys are ours, a
 * duplicate is not noticed. Containers deeper than the limit, and an end too many, make the buffer
 * fail: both are mistakes of the caller that must not pass for a document.
 */
struct rtd_json {
    struct rtd_buffer *out; /* borrowed */
    uint64_t filled;        /* bit depth: the container at that depth has a member */
    uint64_t array;         /* bit depth: that container is an array */
    unsigned depth;
};

/* out is borrowed and must outlive json, which itself owns nothing. */
void rtd_json_init(struct rtd_json *json, struct rtd_buffer *out);

/* Open a container: what is written next are its members, until rtd_json_end(). */
void rtd_json_object(struct rtd_json *json, const char *key);
void rtd_json_array(struct rtd_json *json, const char *key);

/* Closes the innermost open container. */
void rtd_json_end(struct rtd_json *json);

/* A NULL value is written as null; wrong UTF-8 is repaired as rtd_utf8_next() says. "</" and "<!"
 * are escaped, so that the text is safe in HTML. */
void rtd_json_string(struct rtd_json *json, const char *key, const char *value);

/* Exact up to 2^63 - 1, the largest integer that common parsers read; cut to that beyond. */
void rtd_json_uint(struct rtd_json *json, const char *key, uint64_t value);
void rtd_json_int(struct rtd_json *json, const char *key, int64_t value);

/* Not a number and the infinities are written as null. */
void rtd_json_double(struct rtd_json *json, const char *key, double value);
void rtd_json_bool(struct rtd_json *json, const char *key, bool value);
void rtd_json_null(struct rtd_json *json, const char *key);

#endif
