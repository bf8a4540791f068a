// SPDX-License-Identifier: MIT
/*
 * C = A * B, n x n, row-major, n a multiple of 16: launch 16 x 16 threads, n/16 x n/16 blocks
 */
#define TILE 16

extern "C" __global__ void matmul(float *C, const float *A, const float *B, int n)
{
    __shared__ float a[TILE][TILE], b[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;

    for (int t = 0; t < n; t += TILE) {
        a[threadIdx.y][threadIdx.x] = A[row * n + t + threadIdx.x];
        b[threadIdx.y][threadIdx.x] = B[(t + threadIdx.y) * n + column];
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            sum += a[threadIdx.y][k] * b[k][threadIdx.x];
        __syncthreads();
    }
    C[row * n + column] = sum;
}
