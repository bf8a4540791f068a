/* SPDX-License-Identifier: MIT */
/*
 * Entry of the tiny guest (tiny.c), for both processors.
 *
 * libxl loads the program in hvmloader's place (firmware_override=) and starts the
 * first processor at _start in 32-bit flat mode without paging.  The second one
 * starts in real mode at the page that a start-up IPI names: tiny.c copies
 * ap_begin..ap_end to AP_PAGE, from where it goes to ap_main() on its own stack.
 */
#define AP_PAGE 0x8000

    .text
    .globl _start
_start:
    cli
    movl $boot_stack, %esp
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    call tiny_main
2:  hlt
    jmp 2b

    .globl ap_begin, ap_end
    .code16
ap_begin:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AP_PAGE + (ap_gdt_pointer - ap_begin)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $ap_start32
    .balign 8
ap_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
ap_end:

    .code32
ap_start32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $ap_stack, %esp
    call ap_main
3:  hlt
    jmp 3b

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 0x08: code, flat */
    .quad 0x00cf93000000ffff    /* 0x10: data, flat */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt

    .bss
    .balign 16
    .skip 8192
boot_stack:
    .skip 8192
ap_stack:
    .section .note.GNU-stack, "", @progbits
