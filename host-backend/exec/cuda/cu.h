/* SPDX-License-Identifier: MIT */
/*
 * The part of the CUDA driver API that the cuda executor calls.
 *
 * NVIDIA's header is proprietary and not in Debian, so the types, constants and
 * functions we use are declared here, from the public documentation; a test
 * compares them with cuda.h where one is installed.  The library is opened at run
 * time by vgpu_cu_load(): a host without a GPU runs the same binary.
 *
 * Functions are named by their *symbol* in libcuda.so.1 (cuMemAlloc_v2, not the
 * macro name), because that is what fixes a signature for good.
 */
#ifndef VGPU_EXEC_CUDA_CU_H
#define VGPU_EXEC_CUDA_CU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct {
    char bytes[16];
} CUuuid;

/* Constants we use: X(name, value). */
#define VGPU_CU_CONSTANTS(X)                                                                       \
    X(CUDA_SUCCESS, 0)                                                                             \
    X(CUDA_ERROR_INVALID_VALUE, 1)                                                                 \
    X(CUDA_ERROR_OUT_OF_MEMORY, 2)                                                                 \
    X(CUDA_ERROR_NO_DEVICE, 100)                                                                   \
    X(CUDA_ERROR_INVALID_DEVICE, 101)                                                              \
    X(CUDA_ERROR_INVALID_IMAGE, 200)                                                               \
    X(CUDA_ERROR_NO_BINARY_FOR_GPU, 209)                                                           \
    X(CUDA_ERROR_ECC_UNCORRECTABLE, 214)                                                           \
    X(CUDA_ERROR_INVALID_PTX, 218)                                                                 \
    X(CUDA_ERROR_NVLINK_UNCORRECTABLE, 220)                                                        \
    X(CUDA_ERROR_JIT_COMPILER_NOT_FOUND, 221)                                                      \
    X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)                                                     \
    X(CUDA_ERROR_JIT_COMPILATION_DISABLED, 223)                                                    \
    X(CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC, 225)                                                    \
    X(CUDA_ERROR_CONTAINED, 226)                                                                   \
    X(CUDA_ERROR_INVALID_SOURCE, 300)                                                              \
    X(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, 302)                                              \
    X(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, 303)                                                   \
    X(CUDA_ERROR_INVALID_HANDLE, 400)                                                              \
    X(CUDA_ERROR_NOT_FOUND, 500)                                                                   \
    X(CUDA_ERROR_NOT_READY, 600)                                                                   \
    X(CUDA_ERROR_ILLEGAL_ADDRESS, 700)                                                             \
    X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)                                                     \
    X(CUDA_ERROR_LAUNCH_TIMEOUT, 702)                                                              \
    X(CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING, 703)                                               \
    X(CUDA_ERROR_ASSERT, 710)                                                                      \
    X(CUDA_ERROR_HARDWARE_STACK_ERROR, 714)                                                        \
    X(CUDA_ERROR_ILLEGAL_INSTRUCTION, 715)                                                         \
    X(CUDA_ERROR_MISALIGNED_ADDRESS, 716)                                                          \
    X(CUDA_ERROR_INVALID_ADDRESS_SPACE, 717)                                                       \
    X(CUDA_ERROR_INVALID_PC, 718)                                                                  \
    X(CUDA_ERROR_LAUNCH_FAILED, 719)                                                               \
    X(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, 720)                                                \
    X(CUDA_ERROR_TENSOR_MEMORY_LEAK, 721)                                                          \
    X(CUDA_ERROR_NOT_SUPPORTED, 801)                                                               \
    X(CUDA_ERROR_CDP_NOT_SUPPORTED, 811)                                                           \
    X(CUDA_ERROR_CDP_VERSION_MISMATCH, 812)                                                        \
    X(CUDA_ERROR_INVALID_CLUSTER_SIZE, 912)                                                        \
    X(CUDA_ERROR_UNKNOWN, 999)                                                                     \
    X(CU_COMPUTEMODE_PROHIBITED, 2)                                                                \
    X(CU_COMPUTEMODE_EXCLUSIVE_PROCESS, 3)                                                         \
    X(CU_CTX_SCHED_BLOCKING_SYNC, 0x04)                                                            \
    X(CU_CTX_MAP_HOST, 0x08)                                                                       \
    X(CU_MEMHOSTREGISTER_READ_ONLY, 0x08)                                                          \
    X(CU_STREAM_NON_BLOCKING, 0x1)                                                                 \
    X(CU_EVENT_DEFAULT, 0x0)                                                                       \
    X(CU_EVENT_BLOCKING_SYNC, 0x1)                                                                 \
    X(CU_EVENT_DISABLE_TIMING, 0x2)                                                                \
    X(CU_LIMIT_STACK_SIZE, 0x00)                                                                   \
    X(CU_LIMIT_PRINTF_FIFO_SIZE, 0x01)                                                             \
    X(CU_LIMIT_MALLOC_HEAP_SIZE, 0x02)                                                             \
    X(CU_JIT_INFO_LOG_BUFFER, 3)                                                                   \
    X(CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, 4)                                                        \
    X(CU_JIT_ERROR_LOG_BUFFER, 5)                                                                  \
    X(CU_JIT_OPTIMIZATION_LEVEL, 7)                                                                \
    X(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)                                                       \
    X(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0)                                                  \
    X(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 1)                                                      \
    X(CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES, 2)                                                       \
    X(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 3)                                                       \
    X(CU_FUNC_ATTRIBUTE_NUM_REGS, 4)                                                               \
    X(CU_FUNC_ATTRIBUTE_PTX_VERSION, 5)                                                            \
    X(CU_FUNC_ATTRIBUTE_BINARY_VERSION, 6)                                                         \
    X(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)                                          \
    X(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1)                                                \
    X(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 2)                                                      \
    X(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 3)                                                      \
    X(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 4)                                                      \
    X(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 5)                                                       \
    X(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 6)                                                       \
    X(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 7)                                                       \
    X(CU_DEVICE_ATTRIBUTE_WARP_SIZE, 10)                                                           \
    X(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 13)                                                          \
    X(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                                                \
    X(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, 20)                                                        \
    X(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 39)                                      \
    X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                                            \
    X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                                            \
    X(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 88)                                              \
    X(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)                                   \
    X(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 113)

enum {
#define VGPU_CU_ENUM(name, value) name = (value),
    VGPU_CU_CONSTANTS(VGPU_CU_ENUM)
#undef VGPU_CU_ENUM
};

/* Markers in the `extra` array of cuLaunchKernel. */
#define VGPU_CU_LAUNCH_PARAM_END            ((void *)0x00)
#define VGPU_CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)0x01)
#define VGPU_CU_LAUNCH_PARAM_BUFFER_SIZE    ((void *)0x02)

/* X(symbol, arguments): without these the executor can't work. */
#define VGPU_CU_REQUIRED(X)                                                                        \
    X(cuInit, (unsigned int flags))                                                                \
    X(cuDriverGetVersion, (int *version))                                                          \
    X(cuDeviceGetCount, (int *count))                                                              \
    X(cuDeviceGet, (CUdevice * dev, int ordinal))                                                  \
    X(cuDeviceGetName, (char *name, int len, CUdevice dev))                                        \
    X(cuDeviceGetUuid_v2, (CUuuid * uuid, CUdevice dev))                                           \
    X(cuDeviceGetPCIBusId, (char *id, int len, CUdevice dev))                                      \
    X(cuDeviceGetAttribute, (int *value, int attribute, CUdevice dev))                             \
    X(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice dev))                                         \
    X(cuCtxCreate_v2, (CUcontext * ctx, unsigned int flags, CUdevice dev))                         \
    X(cuCtxDestroy_v2, (CUcontext ctx))                                                            \
    X(cuCtxSetCurrent, (CUcontext ctx))                                                            \
    X(cuCtxSetLimit, (int limit, size_t value))                                                    \
    X(cuCtxGetStreamPriorityRange, (int *least, int *greatest))                                    \
    X(cuMemGetInfo_v2, (size_t * free_bytes, size_t * total))                                      \
    X(cuMemAlloc_v2, (CUdeviceptr * ptr, size_t bytes))                                            \
    X(cuMemFree_v2, (CUdeviceptr ptr))                                                             \
    X(cuMemHostAlloc, (void **ptr, size_t bytes, unsigned int flags))                              \
    X(cuMemFreeHost, (void *ptr))                                                                  \
    X(cuMemHostRegister_v2, (void *ptr, size_t bytes, unsigned int flags))                         \
    X(cuMemHostUnregister, (void *ptr))                                                            \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr dst, const void *src, size_t bytes, CUstream stream))     \
    X(cuMemcpyDtoHAsync_v2, (void *dst, CUdeviceptr src, size_t bytes, CUstream stream))           \
    X(cuMemcpyDtoDAsync_v2, (CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream))     \
    X(cuMemsetD8Async, (CUdeviceptr dst, unsigned char v, size_t count, CUstream stream))          \
    X(cuMemsetD16Async, (CUdeviceptr dst, unsigned short v, size_t count, CUstream stream))        \
    X(cuMemsetD32Async, (CUdeviceptr dst, unsigned int v, size_t count, CUstream stream))          \
    X(cuModuleLoadDataEx,                                                                          \
      (CUmodule * mod, const void *image, unsigned int n, int *options, void **values))            \
    X(cuModuleUnload, (CUmodule mod))                                                              \
    X(cuModuleGetFunction, (CUfunction * func, CUmodule mod, const char *name))                    \
    X(cuModuleGetGlobal_v2, (CUdeviceptr * ptr, size_t * bytes, CUmodule mod, const char *name))   \
    X(cuFuncGetAttribute, (int *value, int attribute, CUfunction func))                            \
    X(cuFuncSetAttribute, (CUfunction func, int attribute, int value))                             \
    X(cuLaunchKernel, (CUfunction func, unsigned int gx, unsigned int gy, unsigned int gz,         \
                       unsigned int bx, unsigned int by, unsigned int bz,                          \
                       unsigned int shared_bytes, CUstream stream, void **params, void **extra))   \
    X(cuStreamCreateWithPriority, (CUstream * stream, unsigned int flags, int priority))           \
    X(cuStreamDestroy_v2, (CUstream stream))                                                       \
    X(cuStreamSynchronize, (CUstream stream))                                                      \
    X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned int flags))                     \
    X(cuEventCreate, (CUevent * event, unsigned int flags))                                        \
    X(cuEventDestroy_v2, (CUevent event))                                                          \
    X(cuEventRecord, (CUevent event, CUstream stream))                                             \
    X(cuEventQuery, (CUevent event))                                                               \
    X(cuEventSynchronize, (CUevent event))                                                         \
    X(cuEventElapsedTime, (float *ms, CUevent start, CUevent end))                                 \
    X(cuGetErrorName, (CUresult error, const char **name))                                         \
    X(cuGetErrorString, (CUresult error, const char **text))

/* Used where the driver has them; NULL otherwise. */
#define VGPU_CU_OPTIONAL(X)                                                                        \
    X(cuFuncGetParamInfo, (CUfunction func, size_t index, size_t * offset, size_t * bytes))

struct vgpu_cu {
    void *library;
#define VGPU_CU_MEMBER(symbol, args) CUresult(*symbol) args;
    VGPU_CU_REQUIRED(VGPU_CU_MEMBER)
    VGPU_CU_OPTIONAL(VGPU_CU_MEMBER)
#undef VGPU_CU_MEMBER
};

/*
 * Open libcuda.so.1 (or what VGPU_LIBCUDA in the environment names) and resolve all of the above into *cu.  0, or -ENOENT (no library) or -ENOSYS
 * (functions missing) with the reason, every missing name included, in `why`.
 */
int vgpu_cu_load(struct vgpu_cu *cu, char *why, size_t why_bytes);
void vgpu_cu_unload(struct vgpu_cu *cu);

/* "CUDA_ERROR_X (n): text" of a result, in a caller's buffer; returns it. */
const char *vgpu_cu_error(const struct vgpu_cu *cu, CUresult result, char *text, size_t bytes);

#endif /* VGPU_EXEC_CUDA_CU_H */
