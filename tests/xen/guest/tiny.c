/* SPDX-License-Identifier: MIT */
/*
 * The tiny guest: an HVM guest that is nothing but a test of the vgpu's bus.
 *
 * Theory of operation.  It runs in place of hvmloader, so nobody has touched the
 * device before: what it reads are reset values, and it places the BARs itself.
 * It walks through config space, BARs, accesses of all widths, string moves,
 * the test registers, the doorbells and MSI-X; if there are two processors, both then
 * read registers at once, and go on with that until the device is taken away.  Chapters are
 * those of docs/spec/vgpu-abi.md.
 *
 * Interrupts stay disabled: a message that arrives shows as a bit in the local
 * APIC's request register (IRR), where nothing takes it away, so each check
 * uses a vector of its own.
 *
 * Output goes to port 0xe9, which Xen prints in its log: one line per check,
 *
 *   TINY ok NAME                     or
 *   TINY not ok NAME: saw X, expected Y
 *
 * "TINY done N" at the end, and "TINY taken" when both processors found the device gone
 * after that.  Freestanding 32-bit C; no library.
 */
#include <stdint.h>
#include <vgpu/hw.h>

#ifndef TINY_SLOT
#define TINY_SLOT 0x10 /* where the device is on bus 0 */
#endif

/* Where this guest places the BARs, and moves BAR 0 to. */
#define REGS_AT       0xf2000000u
#define DOORBELLS_AT  0xf2100000u
#define MSIX_AT       0xf2200000u
#define REGS_MOVED_TO 0xf3000000u

#define LAPIC        0xfee00000u
#define LAPIC_ID     0x020
#define LAPIC_SVR    0x0f0
#define LAPIC_IRR    0x200
#define LAPIC_ICR_LO 0x300
#define LAPIC_ICR_HI 0x310
#define AP_PAGE      0x8000u

/* xen/hvm/hvm_info_table.h: what libxl tells firmware of the domain, for which this is taken. */
#define HVM_INFO       0x9f800u
#define HVM_INFO_VCPUS 16

#define CONFIG_ID      0x00
#define CONFIG_COMMAND 0x04
#define CONFIG_BAR(n)  (0x10 + 4 * (n))
#define CONFIG_CAPS    0x34
#define COMMAND_MEMORY 0x2u
#define COMMAND_MASTER 0x4u
#define CONFIG_LINE    0x3c
#define CAP_MSIX       0x11
#define CAP_PCIE       0x10
#define MSIX_ENABLE    0x80000000u
#define MSIX_MASK_ALL  0x40000000u

#define PATIENCE (1ull << 36) /* TSC cycles; under emulation a message takes thousands */

static unsigned int checks;

/* ---- The machine -------------------------------------------------------- */

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline uint64_t tsc(void)
{
    uint64_t t;
    __asm__ volatile("rdtsc" : "=A"(t));
    return t;
}

static inline volatile uint32_t *mem32(uint32_t at)
{
    return (volatile uint32_t *)at;
}

static inline uint32_t reg(uint32_t offset)
{
    return *mem32(REGS_AT + offset);
}

static inline void reg_write(uint32_t offset, uint32_t v)
{
    *mem32(REGS_AT + offset) = v;
}

/* ---- Talking ------------------------------------------------------------ */

static void say(const char *text)
{
    while (*text)
        out8(0xe9, (uint8_t)*text++);
}

static void say_hex(uint32_t v)
{
    say("0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        out8(0xe9, (uint8_t) "0123456789abcdef"[v >> shift & 15]);
}

static void expect(const char *name, uint32_t saw, uint32_t expected)
{
    checks++;
    say(saw == expected ? "TINY ok " : "TINY not ok ");
    say(name);
    if (saw != expected) {
        say(": saw ");
        say_hex(saw);
        say(", expected ");
        say_hex(expected);
    }
    say("\n");
}

/* ---- Config space (3.1, 3.2) -------------------------------------------- */

static void config_select(uint32_t slot, uint32_t offset)
{
    out32(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfcu));
}

static uint32_t config(uint32_t offset)
{
    config_select(TINY_SLOT, offset);
    return in32(0xcfc);
}

static void config_write(uint32_t offset, uint32_t v)
{
    config_select(TINY_SLOT, offset);
    out32(0xcfc, v);
}

/* Offset of a capability, 0 if there is none. */
static uint32_t capability(uint8_t id)
{
    uint32_t at = config(CONFIG_CAPS) & 0xfc;

    for (int hops = 0; at && hops < 48; hops++) {
        uint32_t head = config(at);

        if ((head & 0xff) == id)
            return at;
        at = head >> 8 & 0xfc;
    }
    return 0;
}

/* Is there a device to go on with? */
static int check_config(void)
{
    unsigned int seen = 0;

    for (uint32_t slot = 0; slot < 32; slot++) {
        config_select(slot, 0);
        seen += in32(0xcfc) == (uint32_t)(VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
    }
    expect("config.one-device-on-the-bus", seen, 1);
    expect("config.id", config(CONFIG_ID), VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
    expect("config.class", config(8), VGPU_PCI_CLASS << 8 | VGPU_PCI_REVISION);
    expect("config.subsystem", config(0x2c), VGPU_PCI_SUBSYS_ID << 16 | VGPU_PCI_SUBSYS_VENDOR);
    expect("config.no-pin", config(0x3c) >> 8 & 0xff, 0);
    config_select(TINY_SLOT, 0);
    expect("config.read-16", in16(0xcfe), VGPU_PCI_DEVICE_ID);
    expect("config.read-8", in8(0xcfd), VGPU_PCI_VENDOR_ID >> 8);
    expect("config.msix-capability", capability(CAP_MSIX) != 0, 1);
    expect("config.msix-vectors", (config(capability(CAP_MSIX)) >> 16 & 0x7ff) + 1,
           VGPU_MSIX_VECTORS);
    expect("config.pcie-capability", capability(CAP_PCIE) != 0, 1);
    config_write(0, 0xffffffffu);
    expect("config.id-is-read-only", config(CONFIG_ID),
           VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
    return config(CONFIG_ID) == (VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
}

static void bar_place(unsigned int bar, uint32_t at)
{
    config_write(CONFIG_BAR(bar), at);
    config_write(CONFIG_BAR(bar + 1), 0);
}

static uint32_t bar_size(unsigned int bar)
{
    config_write(CONFIG_BAR(bar), 0xffffffffu);
    return ~(config(CONFIG_BAR(bar)) & ~0xfu) + 1;
}

static void check_bars(void)
{
    expect("bar.decode-off-after-reset", config(CONFIG_COMMAND) & COMMAND_MEMORY, 0);
    expect("bar.0-is-64-bit-memory", config(CONFIG_BAR(VGPU_BAR_REGS)) & 0xf, 0x4);
    expect("bar.0-size", bar_size(VGPU_BAR_REGS), VGPU_BAR_REGS_SIZE);
    expect("bar.2-size", bar_size(VGPU_BAR_DOORBELL), VGPU_BAR_DOORBELL_SIZE);
    expect("bar.4-size", bar_size(VGPU_BAR_MSIX), VGPU_BAR_MSIX_SIZE);
    bar_place(VGPU_BAR_REGS, REGS_MOVED_TO);
    bar_place(VGPU_BAR_DOORBELL, DOORBELLS_AT);
    bar_place(VGPU_BAR_MSIX, MSIX_AT);
    config_write(CONFIG_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
    expect("bar.0-answers", *mem32(REGS_MOVED_TO), VGPU_MAGIC);
    bar_place(VGPU_BAR_REGS, REGS_AT);
    expect("bar.0-moved", *mem32(REGS_AT), VGPU_MAGIC);
    expect("bar.0-left-its-old-place", *mem32(REGS_MOVED_TO), 0xffffffffu);
    config_write(CONFIG_COMMAND, COMMAND_MASTER);
    expect("bar.0-decode-off", *mem32(REGS_AT), 0xffffffffu);
    config_write(CONFIG_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
    expect("bar.0-decode-on", *mem32(REGS_AT), VGPU_MAGIC);
}

/* ---- Accesses (4, VGPU-REG-003) ----------------------------------------- */

static void errors_clear(void)
{
    reg_write(VGPU_REG_ERR_STATUS, 0xffffffffu);
}

/* Eight bytes in one access: a 32-bit program does that through MMX. */
static uint64_t read64(uint32_t at)
{
    uint64_t v;

    __asm__ volatile("movq (%1), %%mm0; movq %%mm0, %0; emms" : "=m"(v) : "r"(at) : "memory");
    return v;
}

static void write64(uint32_t at, uint64_t v)
{
    __asm__ volatile("movq %0, %%mm0; movq %%mm0, (%1); emms" : : "m"(v), "r"(at) : "memory");
}

static void copy32(uint32_t to, uint32_t from, uint32_t words)
{
    __asm__ volatile("cld; rep movsl" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static void check_widths(void)
{
    volatile uint8_t *bytes = (volatile uint8_t *)REGS_AT;
    uint64_t wide;

    expect("mmio.version", reg(VGPU_REG_ABI_VERSION), VGPU_ABI_VERSION);
    expect("mmio.state", reg(VGPU_REG_STATE), VGPU_STATE_DISABLED);
    reg_write(VGPU_REG_TEST_ECHO, 0x12345678);
    expect("mmio.write-32-then-read", reg(VGPU_REG_TEST_ECHO), ~0x12345678u);
    errors_clear();
    expect("mmio.no-error-so-far", reg(VGPU_REG_ERR_STATUS), 0);
    expect("mmio.read-8-is-refused", bytes[VGPU_REG_MAGIC], 0);
    expect("mmio.read-8-sets-error", reg(VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
    errors_clear();
    expect("mmio.read-16-is-refused", *(volatile uint16_t *)(REGS_AT + VGPU_REG_MAGIC), 0);
    expect("mmio.read-16-sets-error", reg(VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
    errors_clear();
    bytes[VGPU_REG_TEST_ECHO] = 0;
    expect("mmio.write-8-changes-nothing", reg(VGPU_REG_TEST_ECHO), ~0x12345678u);
    expect("mmio.write-8-names-the-offset", reg(VGPU_REG_ERR_ADDR_LO), VGPU_REG_TEST_ECHO);
    errors_clear();
    /* a platform may split eight bytes into two accesses (VGPU-REG-001): then it is as two reads */
    wide = read64(REGS_AT + VGPU_REG_MAGIC);
    expect("mmio.read-64", wide == 0 || wide == ((uint64_t)VGPU_ABI_VERSION << 32 | VGPU_MAGIC), 1);
    errors_clear();
    write64(MSIX_AT, 0x1122334455667788ull);
    expect("mmio.write-64-low", *mem32(MSIX_AT), 0x55667788);
    expect("mmio.write-64-high", *mem32(MSIX_AT + 4), 0x11223344);
    expect("mmio.read-64-of-the-table", read64(MSIX_AT) == 0x1122334455667788ull, 1);
}

/* The port of config space stays where it is while the data go on in memory. */
static void check_port_strings(void)
{
    static uint32_t ids[3];
    static const uint8_t lines[3] = {0x11, 0x22, 0x33};
    uint32_t to = (uint32_t)ids, from = (uint32_t)lines, words = 2, bytes = 3;

    config_select(TINY_SLOT, CONFIG_ID);
    __asm__ volatile("cld; rep insl" : "+D"(to), "+c"(words) : "d"(0xcfc) : "memory");
    expect("string.rep-ins-from-config", ids[0] == ids[1] && !ids[2] ? ids[0] : 0,
           VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
    config_select(TINY_SLOT, CONFIG_LINE);
    __asm__ volatile("cld; rep outsb" : "+S"(from), "+c"(bytes) : "d"(0xcfc) : "memory");
    expect("string.rep-outs-to-config", config(CONFIG_LINE) & 0xff, 0x33);
}

static void check_strings(void)
{
    static uint32_t name[VGPU_DEVICE_NAME_BYTES / 4], entry[4], back[4];
    uint32_t same = 1;

    copy32((uint32_t)name, REGS_AT + VGPU_REG_DEVICE_NAME, VGPU_DEVICE_NAME_BYTES / 4);
    for (uint32_t i = 0; i < VGPU_DEVICE_NAME_BYTES / 4; i++)
        same &= name[i] == reg(VGPU_REG_DEVICE_NAME + 4 * i);
    expect("string.rep-movs-from-device", same && name[0], 1);
    for (uint32_t i = 0; i < 4; i++)
        entry[i] = i == 3 ? 1 : 0x01010100u * (i + 1);
    copy32(MSIX_AT + 16, (uint32_t)entry, 4);
    copy32((uint32_t)back, MSIX_AT + 16, 4);
    same = 1;
    for (uint32_t i = 0; i < 4; i++)
        same &= back[i] == entry[i] && *mem32(MSIX_AT + 16 + 4 * i) == entry[i];
    expect("string.rep-movs-to-device-and-back", same, 1);
    check_port_strings();
}

/* ---- Test registers (4.8) ------------------------------------------------ */

static void check_dma(void)
{
    /* ends one word before a page's end, so that the answer lies across the boundary */
    static uint32_t area[3072] __attribute__((aligned(4096)));
    uint32_t *at = &area[1024 - 9], same = 1;

    for (uint32_t i = 0; i < 8; i++)
        at[i] = 0x5a000000u + i;
    reg_write(VGPU_REG_TEST_DMA_LO, (uint32_t)at);
    reg_write(VGPU_REG_TEST_DMA_HI, 0);
    reg_write(VGPU_REG_TEST_DMA_LEN, 32);
    reg_write(VGPU_REG_TEST_DMA_GO, 1);
    expect("dma.status", reg(VGPU_REG_TEST_DMA_STATUS), 0);
    for (uint32_t i = 0; i < 8; i++)
        same &= at[8 + i] == ~(0x5a000000u + i);
    expect("dma.complement-across-pages", same, 1);
    reg_write(VGPU_REG_TEST_DMA_HI, 0x100); /* a TiB: no RAM there */
    reg_write(VGPU_REG_TEST_DMA_GO, 1);
    expect("dma.outside-ram-fails", reg(VGPU_REG_TEST_DMA_STATUS) != 0, 1);
    expect("dma.outside-ram-sets-error", reg(VGPU_REG_ERR_STATUS) & VGPU_ERR_DMA, VGPU_ERR_DMA);
    errors_clear();
    expect("dma.device-lives-on", reg(VGPU_REG_MAGIC), VGPU_MAGIC);
}

/* ---- Doorbells (3.4) ----------------------------------------------------- */

static void check_doorbells(void)
{
    errors_clear();
    *mem32(DOORBELLS_AT) = 1;
    *mem32(DOORBELLS_AT + VGPU_BAR_DOORBELL_SIZE - VGPU_DOORBELL_STRIDE) = 1;
    expect("doorbell.reads-0", *mem32(DOORBELLS_AT), 0);
    expect("doorbell.without-context-is-no-error", reg(VGPU_REG_ERR_STATUS), 0);
}

/* ---- MSI-X (3.3) --------------------------------------------------------- */

static uint32_t irr(uint32_t vector)
{
    return *mem32(LAPIC + LAPIC_IRR + vector / 32 * 16) >> vector % 32 & 1;
}

/* Has the message arrived, at the latest after a while? */
static uint32_t arrives(uint32_t vector)
{
    uint64_t end = tsc() + PATIENCE;

    while (!irr(vector))
        if (tsc() > end)
            return 0;
    return 1;
}

/* The pending bits, once they are these: raising and noting it are two steps of the device. */
static uint32_t pending(uint32_t wanted)
{
    uint64_t end = tsc() + PATIENCE;
    uint32_t seen;

    do
        seen = *mem32(MSIX_AT + VGPU_MSIX_PBA_OFFSET);
    while (seen != wanted && tsc() < end);
    return seen;
}

static void entry_set(uint32_t entry, uint32_t vector, uint32_t control)
{
    uint32_t at = MSIX_AT + VGPU_MSIX_TABLE_OFFSET + 16 * entry;

    *mem32(at) = LAPIC | *mem32(LAPIC + LAPIC_ID) >> 24 << 12;
    *mem32(at + 4) = 0;
    *mem32(at + 8) = vector;
    *mem32(at + 12) = control;
}

/* Whether a message has (wrongly) come can be asked once a later one has. */
static uint32_t fence(void)
{
    static uint32_t vector = 0x80;

    entry_set(31, vector, 0);
    reg_write(VGPU_REG_TEST_IRQ, 31);
    return arrives(vector++);
}

static void check_msix(void)
{
    uint32_t cap = capability(CAP_MSIX);

    *mem32(LAPIC + LAPIC_SVR) = 0x1ff;
    entry_set(0, 0x31, 0);
    config_write(cap, MSIX_ENABLE);
    expect("msix.enabled", config(cap) >> 31, 1);
    expect("msix.quiet-before", irr(0x31), 0);
    reg_write(VGPU_REG_TEST_IRQ, 0);
    expect("msix.arrives", arrives(0x31), 1);
    entry_set(5, 0x52, 0);
    reg_write(VGPU_REG_TEST_IRQ, 5);
    expect("msix.another-vector", arrives(0x52), 1);

    entry_set(7, 0x54, 1);
    reg_write(VGPU_REG_TEST_IRQ, 7);
    expect("msix.fence", fence(), 1);
    expect("msix.masked-stays-away", irr(0x54), 0);
    expect("msix.masked-is-pending", pending(1u << 7), 1u << 7);
    entry_set(7, 0x55, 0); /* with the message the table holds by then (VGPU-PCI-022) */
    expect("msix.unmasked-arrives", arrives(0x55), 1);
    expect("msix.old-message-never-came", irr(0x54), 0);
    expect("msix.no-longer-pending", pending(0), 0);

    config_write(cap, MSIX_ENABLE | MSIX_MASK_ALL);
    entry_set(9, 0x56, 0);
    reg_write(VGPU_REG_TEST_IRQ, 9);
    expect("msix.function-masked-is-pending", pending(1u << 9), 1u << 9);
    expect("msix.function-masked-stays-away", irr(0x56), 0);
    config_write(cap, MSIX_ENABLE);
    expect("msix.function-unmasked-arrives", arrives(0x56), 1);
    reg_write(VGPU_REG_TEST_IRQ, VGPU_MSIX_VECTORS);
    expect("msix.no-such-vector", reg(VGPU_REG_ERR_STATUS), VGPU_ERR_TEST);
    errors_clear();
}

/* ---- Reset (3.5) --------------------------------------------------------- */

static void check_flr(void)
{
    uint32_t pcie = capability(CAP_PCIE);
    uint64_t end = tsc() + PATIENCE;

    reg_write(VGPU_REG_TEST_ECHO, 0x77777777);
    config_write(pcie + 8, 0x8000); /* device control: function-level reset */
    expect("flr.memory-decode-is-off", config(CONFIG_COMMAND) & COMMAND_MEMORY, 0);
    bar_place(VGPU_BAR_REGS, REGS_AT);
    bar_place(VGPU_BAR_DOORBELL, DOORBELLS_AT);
    bar_place(VGPU_BAR_MSIX, MSIX_AT);
    config_write(CONFIG_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
    while (reg(VGPU_REG_STATE) != VGPU_STATE_DISABLED && tsc() < end)
        ;
    expect("flr.ends-disabled", reg(VGPU_REG_STATE), VGPU_STATE_DISABLED);
    expect("flr.registers-are-reset", reg(VGPU_REG_TEST_ECHO), 0xffffffffu);
    expect("flr.table-is-reset", *mem32(MSIX_AT + 12), 1);
}

/* ---- Two processors at once ---------------------------------------------- */

#define ROUNDS 200

extern const uint8_t ap_begin[], ap_end[];
static volatile uint32_t ap_here, ap_go, ap_wrong, ap_done, ap_taken;
void ap_main(void);
void tiny_main(void);

/* Reads of constants: each must get its own answer, whatever the other asks. */
static uint32_t read_rounds(uint32_t offset, uint32_t expected)
{
    uint32_t wrong = 0;

    for (int i = 0; i < ROUNDS; i++)
        wrong += reg(offset) != expected;
    return wrong;
}

/* As fast as can be, so that nearly always an access is under way. */
static void read_until_taken(void)
{
    while (reg(VGPU_REG_MAGIC) != 0xffffffffu)
        ;
}

void ap_main(void)
{
    ap_here = 1;
    while (!ap_go)
        __asm__ volatile("pause");
    ap_wrong = read_rounds(VGPU_REG_ABI_VERSION, VGPU_ABI_VERSION);
    ap_done = 1;
    read_until_taken();
    ap_taken = 1;
}

static int processors(void)
{
    expect("smp.libxl-says-how-many", *mem32(HVM_INFO), 'H' | 'V' << 8 | 'M' << 16 | ' ' << 24);
    return *mem32(HVM_INFO + HVM_INFO_VCPUS);
}

static void check_processors(void)
{
    uint64_t end;

    for (uint32_t i = 0; ap_begin + i < ap_end; i++)
        ((volatile uint8_t *)AP_PAGE)[i] = ap_begin[i];
    *mem32(LAPIC + LAPIC_ICR_HI) = 2u << 24; /* Xen numbers local APICs by twos */
    *mem32(LAPIC + LAPIC_ICR_LO) = 0x4500;   /* INIT */
    *mem32(LAPIC + LAPIC_ICR_LO) = 0x4600 | AP_PAGE >> 12;
    for (end = tsc() + PATIENCE; !ap_here && tsc() < end;)
        ;
    expect("smp.second-starts", ap_here, 1);
    ap_go = 1;
    expect("smp.first-reads-right", read_rounds(VGPU_REG_MAGIC, VGPU_MAGIC), 0);
    for (end = tsc() + PATIENCE; !ap_done && tsc() < end;)
        ;
    expect("smp.second-ended", ap_done, 1);
    expect("smp.second-reads-right", ap_wrong, 0);
}

void tiny_main(void)
{
    int two = 0;

    say("TINY start\n");
    if (check_config()) {
        check_bars();
        check_widths();
        check_strings();
        check_dma();
        check_doorbells();
        check_msix();
        check_flr();
        two = processors() == 2;
        if (two)
            check_processors();
    }
    say("TINY done ");
    say_hex(checks);
    say("\n");
    if (two) {
        read_until_taken();
        while (!ap_taken)
            ;
        say("TINY taken\n");
    }
    for (;;)
        __asm__ volatile("cli; hlt");
}
