/* SPDX-License-Identifier: MIT */
/*
 * Status codes (spec 12): what a completion, the sticky-error detail and a lost
 * context report.  The high byte says whose fault it was, which decides who
 * suffers (spec 12.1); each code names the CUDA driver result that a program
 * used to CUDA would have seen.  One list, from which every table is generated.
 */
#ifndef VGPU_STATUS_H
#define VGPU_STATUS_H

#define VGPU_BLAME(status) ((status) >> 8)
#define VGPU_BLAME_NONE    0
#define VGPU_BLAME_PROGRAM 1 /* the guest program: costs its context at most */
#define VGPU_BLAME_KERNEL  2 /* the guest kernel: costs its device at most */
#define VGPU_BLAME_DEVICE  3 /* the executor or the back end */
#define VGPU_BLAME_HOST    4 /* the host's environment */

/* X(name, value, CUresult, context is lost, text) */
#define VGPU_STATUS_LIST(X) \
	X(OK,                0x000,   0, 0, "success") \
	X(BUSY,              0x001, 600, 0, "still in progress") \
	/* guest program */ \
	X(BAD_OPCODE,        0x101, 801, 0, "unknown or reserved opcode") \
	X(BAD_FLAGS,         0x102,   1, 0, "unknown flag") \
	X(BAD_RESERVED,      0x103,   1, 0, "reserved field is not zero") \
	X(BAD_VALUE,         0x104,   1, 0, "value out of range") \
	X(BAD_HANDLE,        0x105, 400, 0, "no such module, function, stream or event") \
	X(BAD_BUFFER,        0x106,   1, 0, "no such buffer in this context") \
	X(BAD_RANGE,         0x107,   1, 0, "offset and length do not lie inside the buffer") \
	X(BAD_ACCESS,        0x108,   1, 0, "buffer was not registered for this direction") \
	X(BAD_ADDRESS,       0x109,   1, 0, "range does not lie inside one device allocation") \
	X(OUT_OF_MEMORY,     0x10a,   2, 0, "device memory limit reached") \
	X(LIMIT,             0x10b,   2, 0, "limit on objects of this kind reached") \
	X(NOT_READY,         0x10c, 600, 0, "event has not happened yet") \
	X(NOT_FOUND,         0x10d, 500, 0, "no such name in the module") \
	X(BAD_IMAGE,         0x10e, 200, 0, "not a module image this device understands") \
	X(BAD_PTX,           0x10f, 218, 0, "PTX does not compile; the log names line and reason") \
	X(UNSUPPORTED_PTX,   0x110, 222, 0, "PTX version or instruction not supported; see the log") \
	X(NO_BINARY,         0x111, 209, 0, "no code for this device in the image") \
	X(LAUNCH_RESOURCES,  0x112, 701, 0, "grid, block or shared memory over the limits") \
	X(BAD_PARAMS,        0x113,   1, 0, "parameter block does not have the kernel's size") \
	X(NOT_SUPPORTED,     0x114, 801, 0, "not supported by this executor") \
	X(ILLEGAL_ADDRESS,   0x140, 700, 1, "kernel accessed memory outside its allocations") \
	X(MISALIGNED,        0x141, 716, 1, "kernel accessed memory at a misaligned address") \
	X(ILLEGAL_INSTR,     0x142, 715, 1, "kernel executed an illegal instruction") \
	X(ASSERT,            0x143, 710, 1, "device-side assertion failed") \
	X(TIMEOUT,           0x144, 702, 1, "kernel exceeded its deadline") \
	X(LAUNCH_FAILED,     0x145, 719, 1, "kernel failed while it ran") \
	X(DEADLOCK,          0x146, 719, 1, "every thread of the kernel waits at a barrier") \
	X(STACK_OVERFLOW,    0x147, 719, 1, "kernel exceeded its stack") \
	X(BAD_RING,          0x148, 719, 1, "queue index outside the ring") \
	/* guest kernel */ \
	X(ADMIN_OPCODE,      0x201, 999, 0, "unknown admin opcode") \
	X(ADMIN_RESERVED,    0x202, 999, 0, "reserved field or flag of an admin command is not zero") \
	X(ADMIN_VALUE,       0x203, 999, 0, "admin command value out of range") \
	X(ADMIN_RING,        0x204, 999, 0, "admin queue index outside the ring") \
	X(BAD_DMA,           0x205, 999, 0, "DMA address is not in the guest's memory") \
	X(NO_CONTEXT,        0x206, 999, 0, "no such context") \
	X(CONTEXT_EXISTS,    0x207, 999, 0, "context id is in use") \
	X(NO_BUFFER,         0x208, 999, 0, "no such buffer") \
	X(BUFFER_EXISTS,     0x209, 999, 0, "buffer id is in use") \
	X(BAD_FEATURES,      0x20a, 999, 0, "driver asked for features the device does not offer") \
	X(BAD_STATE,         0x20b, 999, 0, "not possible in this lifecycle state") \
	X(BAD_REGISTER,      0x20c, 999, 0, "register access of bad size, alignment or offset") \
	X(UNMAPPED,          0x20d, 719, 1, "memory of the context was unmapped from the device") \
	X(DESTROYED,         0x20e, 709, 1, "context was destroyed by the guest kernel") \
	X(RESET,             0x20f, 709, 1, "device was reset by the guest") \
	/* executor and back end */ \
	X(EXEC_DIED,         0x301, 999, 1, "executor process died") \
	X(EXEC_FAILED,       0x302, 999, 1, "executor failed; see the message") \
	X(BACKEND_LOST,      0x303, 999, 1, "back end went away") \
	X(GENERATION,        0x304, 999, 1, "context belongs to an older back end") \
	X(REMOVED,           0x305, 999, 1, "device was removed") \
	/* host */ \
	X(HOST_MEMORY,       0x401,   2, 0, "host is out of memory") \
	X(HOST_RESOURCES,    0x402, 999, 0, "host is out of processes or file descriptors") \
	X(HOST_NO_DEVICE,    0x403, 100, 0, "no usable GPU on the host") \
	X(HOST_ERROR,        0x404, 999, 0, "host environment failed")

enum vgpu_status {
#define VGPU_STATUS_ENUM(name, value, cuda, lost, text) VGPU_ST_##name = (value),
	VGPU_STATUS_LIST(VGPU_STATUS_ENUM)
#undef VGPU_STATUS_ENUM
};

#endif /* VGPU_STATUS_H */
