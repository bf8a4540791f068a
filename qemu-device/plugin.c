/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vGPU device as a plug-in for a QEMU that was built without it.
 *
 *      qemu-system-x86_64 -plugin file=vgpu-plugin.so -device vgpu-pci,...
 *
 * A stock QEMU that supports plug-ins or modules exports the functions a device
 * is made of, and a type can be registered at any time before it is used.  But
 * none of that is a stable interface: the structures must be laid out exactly
 * as in the headers this file was compiled with.  So the running QEMU is asked
 * for its version and for the sizes of the structures the device embeds, and
 * with any difference the plug-in refuses to load.
 *
 * Loaded by `-plugin`, QEMU has long done its own registrations, and the module
 * constructors in the other files remain without effect; qemu_plugin_install()
 * does their work.  Preloaded (LD_PRELOAD), they run as in a QEMU with the
 * device built in; the version is then checked by a constructor of this file.
 *
 * Argument: trace=on switches the device's trace events on from the start,
 * since `-trace` is handled before a plug-in can define any.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/qemu-plugin.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/util.h"
#include "exec/memory.h"
#include "hw/pci/pci.h"
#include "vgpu-device.h"
#include "vgpu-pci.h"
#include "vgpu-trace.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* NULL, or what to tell the operator. */
static char *version_mismatch(void)
{
    static const char built_for[] = QEMU_VERSION;
    g_autoptr(VersionInfo) info = qmp_query_version(NULL);
    g_autofree char *running = NULL;

    running = g_strdup_printf("%" PRId64 ".%" PRId64 ".%" PRId64,
                              info->qemu->major, info->qemu->minor,
                              info->qemu->micro);
    if (g_str_equal(running, built_for)) {
        return NULL;
    }
    return g_strdup_printf("vgpu plug-in: this is QEMU %s, the plug-in was "
                           "built for %s; rebuild it", running, built_for);
}

static bool layout_matches(void)
{
    static const struct {
        const char *type;
        size_t size;
    } types[] = {
        { TYPE_OBJECT, sizeof(Object) },
        { TYPE_DEVICE, sizeof(DeviceState) },
        { TYPE_PCI_DEVICE, sizeof(PCIDevice) },
        { TYPE_MEMORY_REGION, sizeof(MemoryRegion) },
        { TYPE_IOMMU_MEMORY_REGION, sizeof(IOMMUMemoryRegion) },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        size_t size = object_type_get_instance_size(types[i].type);

        if (size != types[i].size) {
            error_report("vgpu plug-in: a %s has %zu bytes in this QEMU, the "
                         "plug-in was built for %zu; rebuild it for this "
                         "exact package", types[i].type, size, types[i].size);
            return false;
        }
    }
    return true;
}

static bool parse_argument(const char *arg)
{
    const char *value;
    bool on;

    if (!strstart(arg, "trace=", &value) ||
        !qapi_bool_parse("trace", value, &on, NULL)) {
        error_report("vgpu plug-in: unknown argument '%s'; there is only "
                     "trace=on|off", arg);
        return false;
    }
    vgpu_trace_enable_all(on);
    return true;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    g_autofree char *mismatch = version_mismatch();

    if (mismatch) {
        error_report("%s", mismatch);
        return -1;
    }
    if (!layout_matches()) {
        return -1;
    }
    if (object_class_by_name(TYPE_VGPU_PCI)) {
        if (trace_event_name("vgpu_conn_state") != &vgpu_trace_conn_state) {
            error_report("vgpu plug-in: this QEMU has a vgpu-pci already");
            return -1;
        }
    } else {
        vgpu_trace_register();
        vgpu_pci_register_types();
    }
    for (int i = 0; i < argc; i++) {
        if (!parse_argument(argv[i])) {
            return -1;
        }
    }
    return 0;
}

/*
 * Effective only when preloaded: before any type, ours too, is looked at, and
 * before QEMU's error reporting works.
 */
static void plugin_check_preloaded(void)
{
    g_autofree char *mismatch = version_mismatch();

    if (mismatch) {
        fprintf(stderr, "%s\n", mismatch);
        _exit(EXIT_FAILURE);
    }
}
type_init(plugin_check_preloaded)
