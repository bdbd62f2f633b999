/* SPDX-License-Identifier: BSD-2-Clause */
/* version.h - what the log and `dogana status' call this build. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H
#define DOGANA_VERSION "0.1.0"
#endif
