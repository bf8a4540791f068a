/* SPDX-License-Identifier: MIT */
/*
 * A vm process without its process: the real device, DMA table, contexts and conversation code in
 * this one, driven through the admin queue; executors are children that follow a script.
 */
#ifndef VGPU_TESTS_UNIT_DAEMON_VM_FIXTURE_H
#define VGPU_TESTS_UNIT_DAEMON_VM_FIXTURE_H

#include <daemon/vm.h>

#define VMF_RAM   0x400000u
#define VMF_LIMIT 1000u /* bytes of device memory */
#define VMF_CTX   3u

struct vmf {
    struct vm *vm;
    int ram;
    uint8_t *mem; /* guest memory, DMA address 0 */
    int spawner;  /* the test's end */
    bool refuse_spawn;
    void (*script)(int sock); /* what the executor does; returns or exits */
    uint32_t admin_prod, admin_cons;
};

extern struct vmf vmf;

void vmf_setup(void);
void vmf_teardown(void);

/* Run the event loop until `done` says so; false after `timeout_ms`. */
bool vmf_run(bool (*done)(void), uint64_t timeout_ms);
/* Put an admin command; wait for its completion; its status. */
void vmf_admin_put(const struct vgpu_admin_sqe *sqe);
uint16_t vmf_admin_wait(void);
uint16_t vmf_create(void);
uint16_t vmf_destroy(void);
uint16_t vmf_register(uint32_t buf, const struct vgpu_sg_entry *sg, uint32_t count);
uint16_t vmf_unregister(uint32_t buf);
/* The context's status as the guest reads it. */
struct vgpu_ctx_status vmf_status(void);
struct vm_ctx *vmf_ctx(void);
bool vmf_is_lost(void);

/* For scripts: the executor's side of the conversation. */
void script_recv(int sock, struct vgpu_xmsg *msg, uint32_t type, struct vgpu_xrun *runs);
void script_reply(int sock, const struct vgpu_xmsg *to, uint32_t status);
void script_start(int sock); /* take START, answer OK */
/* Answer everything, end at STOP. */
void script_serve(int sock);

#endif
