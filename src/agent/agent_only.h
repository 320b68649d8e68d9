// SPDX-License-Identifier: Apache-2.0
/*
 * agent_only.h - makes what an agent must not call a compile error. Included last.
 *
 * Runs in:    agent
 * Threads:    not applicable
 * Allocates:  never
 * Fails:      at compile time
 */
#ifndef RTD_AGENT_ONLY_H
#define RTD_AGENT_ONLY_H

#pragma GCC poison printf fprintf snprintf vsnprintf sprintf puts fputs perror fopen fwrite
#pragma GCC poison strdup strndup asprintf getenv secure_getenv setenv putenv unsetenv
#pragma GCC poison pthread_mutex_lock pthread_mutex_trylock pthread_getattr_np pthread_once
#pragma GCC poison dlopen dlsym dl_iterate_phdr abort exit assert sigaction signal
#pragma GCC poison open read write close socket connect recvmsg send sendmsg getpid gettid

#endif
