/* SPDX-License-Identifier: MIT */
/*
 * Xen's libraries by dlopen(): see xen_lib.h.
 *
 * A table of names says which library has which function; a host that lacks one learns its name.
 * They are loaded by the vm process of a domain, before it gives up its view of the file system.
 */
#include <bus/xen_lib.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define XENDEVICEMODEL   "libxendevicemodel.so.1"
#define XENFOREIGNMEMORY "libxenforeignmemory.so.1"
#define XENEVTCHN        "libxenevtchn.so.1"
#define XENTOOLCORE      "libxentoolcore.so.1"

struct xen_lib xen_lib;

struct xen_symbol {
    const char *library;
    const char *name;
    void *member;
};

#define XEN_LIB_SYMBOL(lib, name) {lib, #name, &xen_lib.name},
static const struct xen_symbol symbols[] = {XEN_FUNCTIONS(XEN_LIB_SYMBOL)};

/* Never closed: they stay as long as the process. */
int xen_lib_load(char *why, size_t bytes)
{
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *library = dlopen(symbols[i].library, RTLD_NOW | RTLD_GLOBAL);
        void *function = library ? dlsym(library, symbols[i].name) : NULL;

        if (!function) {
            snprintf(why, bytes, "Xen's library %s: %s", symbols[i].library, dlerror());
            return -ENOENT;
        }
        memcpy(symbols[i].member, &function, sizeof(function));
    }
    return 0;
}
