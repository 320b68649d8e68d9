// SPDX-License-Identifier: Apache-2.0
/*
 * export_buffer.c - a growing text buffer, UTF-8 repair and the JSON writer.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    a buffer belongs to one thread at a time
 * Allocates:  the buffer's own storage, doubling
 * Fails:      remembered in the buffer
 *
 * Why numbers avoid the locale: a program that links the library may have set one, and a decimal
 * comma is not JSON.
 */
#include "export/export_buffer.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rtd_buffer_init(struct rtd_buffer *buffer)
{
    *buffer = (struct rtd_buffer){0};
}

void rtd_buffer_fini(struct rtd_buffer *buffer)
{
    free(buffer->data);
    rtd_buffer_init(buffer);
}

bool rtd_buffer_failed(const struct rtd_buffer *buffer)
{
    return buffer->failed;
}

const char *rtd_buffer_get(const struct rtd_buffer *buffer)
{
    return buffer->data ? buffer->data : "";
}

/* Makes room for more bytes and the terminating NUL. */
static bool reserve(struct rtd_buffer *buffer, size_t more_bytes)
{
    if (buffer->failed)
        return false;
    if (more_bytes < buffer->capacity_bytes - buffer->length_bytes)
        return true;

    size_t wanted = buffer->capacity_bytes ? buffer->capacity_bytes : 1024;
    while (wanted - buffer->length_bytes <= more_bytes) {
        if (wanted > SIZE_MAX / 4) {
            buffer->failed = true;
            return false;
        }
        wanted *= 2;
    }
    char *const data = realloc(buffer->data, wanted);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity_bytes = wanted;
    return true;
}

char *rtd_buffer_take(struct rtd_buffer *buffer, size_t *length_bytes)
{
    char *text = NULL;

    rtd_buffer_append(buffer, "", 0);
    if (!buffer->failed) {
        text = buffer->data;
        *length_bytes = buffer->length_bytes;
        buffer->data = NULL;
    }
    rtd_buffer_fini(buffer);
    return text;
}

void rtd_buffer_append(struct rtd_buffer *buffer, const void *bytes, size_t count_bytes)
{
    if (!reserve(buffer, count_bytes))
        return;
    memcpy(buffer->data + buffer->length_bytes, bytes, count_bytes);
    buffer->length_bytes += count_bytes;
    buffer->data[buffer->length_bytes] = '\0';
}

void rtd_buffer_puts(struct rtd_buffer *buffer, const char *text)
{
    rtd_buffer_append(buffer, text, strlen(text));
}

void rtd_buffer_putc(struct rtd_buffer *buffer, char c)
{
    rtd_buffer_append(buffer, &c, 1);
}

void rtd_buffer_printf(struct rtd_buffer *buffer, const char *format, ...)
{
    char small[512];
    va_list arguments;

    va_start(arguments, format);
    const int length = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
        return;
    }
    if ((size_t)length < sizeof(small)) {
        rtd_buffer_append(buffer, small, (size_t)length);
        return;
    }
    if (!reserve(buffer, (size_t)length))
        return;
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->length_bytes, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length_bytes += (size_t)length;
}

void rtd_buffer_put_code(struct rtd_buffer *buffer, uint32_t code)
{
    char bytes[4];
    size_t count = 0;

    if (code < 0x80) {
        bytes[count++] = (char)code;
    } else if (code < 0x800) {
        bytes[count++] = (char)(0xC0 | code >> 6);
    } else if (code < 0x10000) {
        bytes[count++] = (char)(0xE0 | code >> 12);
        bytes[count++] = (char)(0x80 | (code >> 6 & 0x3F));
    } else {
        bytes[count++] = (char)(0xF0 | code >> 18);
        bytes[count++] = (char)(0x80 | (code >> 12 & 0x3F));
        bytes[count++] = (char)(0x80 | (code >> 6 & 0x3F));
    }
    if (code >= 0x80)
        bytes[count++] = (char)(0x80 | (code & 0x3F));
    rtd_buffer_append(buffer, bytes, count);
}

/* Fifteen digits are enough for most values; seventeen always are. */
bool rtd_buffer_put_double(struct rtd_buffer *buffer, double value)
{
    char text[40];

    if (!isfinite(value))
        return false;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (!(strtod(text, NULL) < value) && !(strtod(text, NULL) > value))
            break;
    }
    bool in_point = false;
    for (const char *c = text; *c; c++) {
        const bool plain = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == 'e';

        /* Whatever else stands there is the locale's decimal separator, of one or more bytes. */
        if (plain)
            rtd_buffer_putc(buffer, *c);
        else if (!in_point)
            rtd_buffer_putc(buffer, '.');
        in_point = !plain;
    }
    return true;
}

/* How many bytes follow a start byte, and the smallest code point such a sequence may hold. */
static int sequence_shape(unsigned char start, uint32_t *smallest, uint32_t *bits)
{
    if (start >= 0xC2 && start <= 0xDF) {
        *smallest = 0x80;
        *bits = start & 0x1Fu;
        return 1;
    }
    if (start >= 0xE0 && start <= 0xEF) {
        *smallest = 0x800;
        *bits = start & 0x0Fu;
        return 2;
    }
    if (start >= 0xF0 && start <= 0xF4) {
        *smallest = 0x10000;
        *bits = start & 0x07u;
        return 3;
    }
    return -1;
}

uint32_t rtd_utf8_next(const char **text)
{
    const unsigned char *const bytes = (const unsigned char *)*text;
    uint32_t smallest = 0, code = 0;

    if (bytes[0] < 0x80) {
        if (bytes[0])
            *text += 1;
        return bytes[0];
    }
    const int following = sequence_shape(bytes[0], &smallest, &code);
    for (int i = 1; i <= following; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            *text += 1;
            return RTD_UTF8_REPLACEMENT;
        }
        code = code << 6 | (bytes[i] & 0x3Fu);
    }
    if (following < 0 || code < smallest || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        *text += 1;
        return RTD_UTF8_REPLACEMENT;
    }
    *text += 1 + following;
    return code;
}

/* How many bytes stand for themselves in a JSON string. */
static size_t plain_bytes(const char *text)
{
    size_t count = 0;

    while (text[count] >= 0x20 && text[count] < 0x7F && text[count] != '"' && text[count] != '\\' &&
           text[count] != '<')
        count++;
    return count;
}

/* U+2028 and U+2029 end a line in JavaScript, "</" and "<!" a script element in HTML. */
static void put_special(struct rtd_buffer *out, uint32_t code, bool opens_markup)
{
    if (code == '"' || code == '\\')
        rtd_buffer_printf(out, "\\%c", (char)code);
    else if (code == '\n')
        rtd_buffer_puts(out, "\\n");
    else if (code == '\t')
        rtd_buffer_puts(out, "\\t");
    else if (code < 0x20 || code == 0x7F || code == 0x2028 || code == 0x2029 || opens_markup)
        rtd_buffer_printf(out, "\\u%04" PRIx32, code);
    else
        rtd_buffer_put_code(out, code);
}

static void put_quoted(struct rtd_buffer *out, const char *text)
{
    rtd_buffer_putc(out, '"');
    while (*text) {
        /* Names are nearly all plain ASCII, and a large report holds megabytes of them. */
        const size_t plain = plain_bytes(text);

        rtd_buffer_append(out, text, plain);
        text += plain;
        const uint32_t code = rtd_utf8_next(&text);
        if (code)
            put_special(out, code, code == '<' && (*text == '/' || *text == '!'));
    }
    rtd_buffer_putc(out, '"');
}

void rtd_json_init(struct rtd_json *json, struct rtd_buffer *out)
{
    *json = (struct rtd_json){.out = out};
}

/* Comma and key before a value. */
static void begin_value(struct rtd_json *json, const char *key)
{
    const uint64_t bit = UINT64_C(1) << json->depth;

    if (json->filled & bit)
        rtd_buffer_putc(json->out, ',');
    json->filled |= bit;
    if (!key)
        return;
    put_quoted(json->out, key);
    rtd_buffer_putc(json->out, ':');
}

static void open_container(struct rtd_json *json, const char *key, bool array)
{
    begin_value(json, key);
    rtd_buffer_putc(json->out, array ? '[' : '{');
    if (json->depth + 1 >= RTD_JSON_DEPTH_MAX) {
        json->out->failed = true;
        return;
    }
    json->depth++;
    const uint64_t bit = UINT64_C(1) << json->depth;
    json->filled &= ~bit;
    json->array = array ? json->array | bit : json->array & ~bit;
}

void rtd_json_object(struct rtd_json *json, const char *key)
{
    open_container(json, key, false);
}

void rtd_json_array(struct rtd_json *json, const char *key)
{
    open_container(json, key, true);
}

void rtd_json_end(struct rtd_json *json)
{
    if (json->depth == 0) {
        json->out->failed = true;
        return;
    }
    rtd_buffer_putc(json->out, json->array >> json->depth & 1 ? ']' : '}');
    json->depth--;
}

void rtd_json_string(struct rtd_json *json, const char *key, const char *value)
{
    begin_value(json, key);
    if (value)
        put_quoted(json->out, value);
    else
        rtd_buffer_puts(json->out, "null");
}

void rtd_json_uint(struct rtd_json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    /* No real figure is beyond; one that is would make the document unreadable for many parsers. */
    rtd_buffer_printf(json->out, "%" PRIu64, value < INT64_MAX ? value : INT64_MAX);
}

void rtd_json_int(struct rtd_json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    rtd_buffer_printf(json->out, "%" PRId64, value);
}

void rtd_json_double(struct rtd_json *json, const char *key, double value)
{
    begin_value(json, key);
    if (!rtd_buffer_put_double(json->out, value))
        rtd_buffer_puts(json->out, "null");
}

void rtd_json_bool(struct rtd_json *json, const char *key, bool value)
{
    begin_value(json, key);
    rtd_buffer_puts(json->out, value ? "true" : "false");
}

void rtd_json_null(struct rtd_json *json, const char *key)
{
    begin_value(json, key);
    rtd_buffer_puts(json->out, "null");
}
