/* SPDX-License-Identifier: MIT */
/*
 * What tests read of the host: the daemon's accounting (what `vgpuctl stats` asks for) and /proc.
 *
 * A member that is missing counts as a failure of the test, except for those of a
 * VM that has no vm process: there is nothing to count then.
 */
#include "fixture.h"

#include <daemon/control_client.h>
#include <json-c/json.h>

static uint64_t number(struct json_object *obj, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(obj, key, &value), "no member '%s' in %s", key,
                  json_object_to_json_string(obj));
    return json_object_get_uint64(value);
}

/* The entry of VM `i`; the root is released by the caller. */
static struct json_object *vm_entry(unsigned int i, struct json_object **root)
{
    char why[VGPU_WHY_BYTES] = "", name[16];
    struct json_object *vm;

    ck_assert_msg(!vgpu_control_call(fx.d.control, "stats", GS_TIMEOUT_MS, root, why),
                  "vgpud does not answer: %s", why);
    snprintf(name, sizeof(name), "vm%u", i);
    vm = vgpu_control_find_vm(*root, name);
    ck_assert_msg(vm != NULL, "vgpud knows no %s", name);
    return vm;
}

static void read_contexts(struct json_object *vm, struct fx_account *account)
{
    struct json_object *list = NULL;

    ck_assert(json_object_object_get_ex(vm, "context_list", &list));
    for (size_t k = 0; k < json_object_array_length(list); k++) {
        struct json_object *ctx = json_object_array_get_idx(list, k);
        uint64_t id = number(ctx, "ctx");

        ck_assert_uint_lt(id, VGPU_MAX_CONTEXTS);
        account->exec_pid[id] = (pid_t)number(ctx, "pid");
    }
}

void fx_account(unsigned int i, struct fx_account *account)
{
    struct json_object *root, *vm = vm_entry(i, &root), *attached = NULL, *answers = NULL;

    memset(account, 0, sizeof(*account));
    ck_assert(json_object_object_get_ex(vm, "attached", &attached));
    account->attached = json_object_get_boolean(attached);
    account->vm_processes = number(vm, "vm_processes");
    account->vm_pid = (pid_t)number(vm, "pid");
    if (json_object_object_get_ex(vm, "responding", &answers) && json_object_get_boolean(answers)) {
        account->contexts = number(vm, "contexts");
        account->executors = number(vm, "exec_processes");
        account->buffers = number(vm, "buffers");
        account->memory_held = number(vm, "memory_bytes");
        account->dma_bytes = number(vm, "dma_bytes");
        account->commands = number(vm, "commands");
        account->doorbells = number(vm, "doorbells");
        account->interrupts = number(vm, "interrupts");
        account->kernels = number(vm, "kernels");
        account->bytes_h2d = number(vm, "bytes_h2d");
        account->bytes_d2h = number(vm, "bytes_d2h");
        account->bytes_staged = number(vm, "bytes_staged");
        read_contexts(vm, account);
    } else {
        ck_assert_msg(!account->attached, "vm%u is attached and does not answer", i);
    }
    json_object_put(root);
}

void fx_wait_clean(unsigned int i)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    struct fx_account a;

    for (;;) {
        struct json_object *root, *vm = vm_entry(i, &root), *attached = NULL;
        uint64_t processes = number(vm, "vm_processes");
        bool clean;

        ck_assert(json_object_object_get_ex(vm, "attached", &attached));
        clean = !json_object_get_boolean(attached) && !processes;
        json_object_put(root);
        if (clean)
            break;
        ck_assert_msg(gs_now_ns() < deadline, "vm%u still has %llu processes", i,
                      (unsigned long long)processes);
        poll(NULL, 0, 5);
    }
    fx_account(i, &a);
    ck_assert_msg(!a.contexts && !a.executors && !a.buffers && !a.memory_held,
                  "vm%u still holds %llu contexts, %llu executors, %llu buffers, %llu bytes", i,
                  (unsigned long long)a.contexts, (unsigned long long)a.executors,
                  (unsigned long long)a.buffers, (unsigned long long)a.memory_held);
}

pid_t fx_exec_pid(const struct gs_ctx *ctx)
{
    struct fx_account account;

    fx_account(0, &account);
    ck_assert_int_gt(account.exec_pid[ctx->id], 0);
    return account.exec_pid[ctx->id];
}

void fx_proc_field(pid_t pid, const char *field, char *out, size_t room)
{
    char path[64], line[256];
    FILE *file;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (!found && fgets(line, sizeof(line), file)) {
        size_t n = strlen(field);

        if (strncmp(line, field, n) || line[n] != ':')
            continue;
        found = true;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, room, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
    }
    fclose(file);
    ck_assert_msg(found, "no %s in %s", field, path);
}
