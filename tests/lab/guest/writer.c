/*
 * Writes a ring of 64 KiB blocks on each disk for ever; tests/lab/ring.py checks what it left.
 * A block is reported on stdout only after fdatasync returned, one write(2) a line:
 *
 *   RING-START vda owner=O boot=B size=N offset=N slots=N next=SEQ empty=N other=N
 *   RING vda seq=N slot=K
 *   RING-ERROR vda seq=N errno=E op=read|write|sync      (the same block is tried again)
 *   RING-BAD vda slot=K seq=EXPECTED found=empty|other|torn|seq:N|foreign:O:D
 *   FATAL vda WHY
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <getopt.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536
#define SECTOR 512
#define MAX_SLOTS 64
#define MAX_DISKS 8
#define BODY (BLOCK - sizeof(uint32_t)) /* what the CRC in the last four bytes covers */
#define RETRY_MS 1000

static const char MAGIC[8] = "KVMLRING";

struct header { /* ring.py: HEADER */
    char magic[8];
    uint32_t version, slot;
    uint64_t seq;
    uint32_t length, slots;
    char boot[40], owner[32], disk[16];
    char pad[8];
};
_Static_assert(sizeof(struct header) == 128, "ring.py reads 128 bytes");

struct unit { /* fills every sector, so that any sector of an older block shows; ring.py: UNIT */
    uint64_t seq;
    uint32_t sector, slot;
    uint64_t boot, mix;
};

enum kind { EMPTY, OTHER, TORN, VALID };

struct disk {
    const char *path, *name;
    int fd;
    uint32_t slots;
    uint64_t next;
    uint32_t crc[MAX_SLOTS]; /* of the body that was last seen or written there */
    uint64_t seq[MAX_SLOTS];
    char known[MAX_SLOTS]; /* 0 after a failed write: the slot may hold the old or the new block */
};

static struct {
    int file;
    long slots, pace_ms, rounds;
    long long offset;
    const char *owner;
} opt = { .slots = MAX_SLOTS, .pace_ms = 50, .rounds = -1, .owner = "-" };

static char boot[40];
static sigset_t stop_signals;
static uint32_t crc_table[256];
static unsigned char *block, *old;

static void say(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n > (int)sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    if (write(STDOUT_FILENO, line, n) != n)
        exit(3); /* a guest that cannot report must not look alive */
}

static void fatal(const struct disk *d, const char *why)
{
    say("FATAL %s %s errno=%d", d->name, why, errno);
    exit(1);
}

/* SIGTERM is blocked and only looked for here: a block and its report are never cut in two. */
static void pause_or_stop(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    if (sigtimedwait(&stop_signals, NULL, &t) > 0)
        exit(0);
}

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32(const unsigned char *p, size_t n)
{
    uint32_t c = ~0u;
    while (n--)
        c = crc_table[(c ^ *p++) & 0xff] ^ (c >> 8);
    return ~c;
}

static uint32_t trailer(const unsigned char *b)
{
    uint32_t crc;
    memcpy(&crc, b + BODY, sizeof crc);
    return crc;
}

static uint32_t build(const struct disk *d, uint64_t seq)
{
    uint32_t slot = seq % d->slots;
    struct header h = { .version = 1, .slot = slot, .seq = seq, .length = BLOCK, .slots = d->slots };
    struct unit u = { .seq = seq, .slot = slot };
    char key[17] = "";

    /* the boot id is a UUID: its first 16 hex digits without the dashes */
    for (int i = 0, n = 0; boot[i] && n < 16; i++)
        if (boot[i] != '-')
            key[n++] = boot[i];
    u.boot = strtoull(key, NULL, 16);
    for (u.sector = 0; u.sector < BLOCK / SECTOR; u.sector++) {
        u.mix = seq * 0x9E3779B97F4A7C15u + u.sector;
        for (size_t i = 0; i < SECTOR; i += sizeof u)
            memcpy(block + u.sector * SECTOR + i, &u, sizeof u);
    }
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    snprintf(h.boot, sizeof h.boot, "%s", boot);
    snprintf(h.owner, sizeof h.owner, "%s", opt.owner);
    snprintf(h.disk, sizeof h.disk, "%s", d->name);
    memcpy(block, &h, sizeof h);
    uint32_t crc = crc32(block, BODY);
    memcpy(block + BODY, &crc, sizeof crc);
    return crc;
}

static enum kind classify(const struct disk *d, const unsigned char *b, uint32_t slot,
                          struct header *h, uint32_t crc)
{
    memcpy(h, b, sizeof *h);
    if (memcmp(h->magic, MAGIC, sizeof MAGIC)) {
        for (int i = 0; i < BLOCK; i++)
            if (b[i])
                return OTHER;
        return EMPTY;
    }
    if (crc != trailer(b) || h->version != 1 || h->length != BLOCK)
        return TORN;
    if (h->slots != d->slots || h->slot != slot || h->seq % d->slots != slot)
        return OTHER;
    return VALID;
}

static void bad(const struct disk *d, uint32_t slot, uint64_t seq, enum kind kind, const struct header *h)
{
    static const char *const names[] = { "empty", "other", "torn" };
    if (kind != VALID)
        say("RING-BAD %s slot=%u seq=%llu found=%s", d->name, slot, (unsigned long long)seq, names[kind]);
    else if (strcmp(h->owner, opt.owner) || strcmp(h->disk, d->name))
        say("RING-BAD %s slot=%u seq=%llu found=foreign:%.32s:%.16s", d->name, slot,
            (unsigned long long)seq, h->owner, h->disk);
    else
        say("RING-BAD %s slot=%u seq=%llu found=seq:%llu", d->name, slot, (unsigned long long)seq,
            (unsigned long long)h->seq);
}

/* seq: only for the error line. Returns 0 or the error, which has been reported. */
static int transfer(const struct disk *d, int writing, uint32_t slot, uint64_t seq)
{
    off_t at = opt.offset + (off_t)slot * BLOCK;
    ssize_t n = writing ? pwrite(d->fd, block, BLOCK, at) : pread(d->fd, old, BLOCK, at);
    const char *op = writing ? "write" : "read";
    int error = n == BLOCK ? 0 : n < 0 ? errno : EIO;
    if (!error && writing && fdatasync(d->fd)) {
        error = errno;
        op = "sync";
    }
    if (error)
        say("RING-ERROR %s seq=%llu errno=%d op=%s", d->name, (unsigned long long)seq, error, op);
    return error;
}

/* Finds where to go on; what an unbroken ring cannot contain is reported at once. */
static void scan(struct disk *d)
{
    enum kind kind[MAX_SLOTS];
    struct header h[MAX_SLOTS];
    uint64_t newest = 0;
    int count[VALID + 1] = { 0 };

    for (uint32_t s = 0; s < d->slots; s++) {
        while (transfer(d, 0, s, 0))
            pause_or_stop(RETRY_MS);
        d->crc[s] = crc32(old, BODY);
        d->known[s] = 1;
        kind[s] = classify(d, old, s, &h[s], d->crc[s]);
        count[kind[s]]++;
        d->seq[s] = kind[s] == VALID ? h[s].seq : 0;
        if (d->seq[s] > newest)
            newest = d->seq[s];
    }
    d->next = newest + 1;
    say("RING-START %s owner=%s boot=%s size=%lld offset=%lld slots=%u next=%llu empty=%d other=%d",
        d->name, opt.owner, boot, (long long)lseek(d->fd, 0, SEEK_END), opt.offset, d->slots,
        (unsigned long long)d->next, count[EMPTY], count[OTHER]);
    for (uint32_t s = 0; s < d->slots; s++) {
        uint64_t age = newest >= s ? (newest - s) % d->slots : newest;
        uint64_t expected = newest - age; /* 0: the ring has not come to this slot yet */
        if (kind[s] == TORN || (kind[s] == VALID && (strcmp(h[s].owner, opt.owner) || strcmp(h[s].disk, d->name))) ||
            d->seq[s] != expected)
            bad(d, s, expected, kind[s], &h[s]);
    }
}

static void open_disk(struct disk *d, const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    d->path = path;
    d->name = slash ? slash + 1 : path;
    if (stat(path, &st))
        fatal(d, "stat");
    errno = 0;
    /* without its driver, /dev/vda would be a file in the guest's own memory */
    if (opt.file ? !S_ISREG(st.st_mode) : !S_ISBLK(st.st_mode))
        fatal(d, opt.file ? "not a file" : "not a block device");
    d->fd = open(path, O_RDWR | O_CLOEXEC | (opt.file ? 0 : O_DIRECT | O_EXCL));
    if (d->fd < 0)
        fatal(d, "open");
    off_t size = lseek(d->fd, 0, SEEK_END);
    long long room = (size - opt.offset) / BLOCK;
    d->slots = room < opt.slots ? (room < 0 ? 0 : room) : opt.slots;
    if (d->slots < 2)
        fatal(d, "too small");
    scan(d);
}

static void step(struct disk *d)
{
    uint64_t seq = d->next;
    uint32_t slot = seq % d->slots;

    if (d->known[slot]) {
        if (transfer(d, 0, slot, seq)) {
            pause_or_stop(RETRY_MS);
            return;
        }
        uint32_t crc = crc32(old, BODY);
        if (crc != d->crc[slot] || (d->seq[slot] && crc != trailer(old))) {
            struct header h;
            enum kind kind = classify(d, old, slot, &h, crc);
            bad(d, slot, d->seq[slot], kind, &h);
        }
    }
    uint32_t crc = build(d, seq);
    d->known[slot] = 0;
    if (transfer(d, 1, slot, seq)) {
        pause_or_stop(RETRY_MS);
        return;
    }
    say("RING %s seq=%llu slot=%u", d->name, (unsigned long long)seq, slot);
    d->known[slot] = 1;
    d->crc[slot] = crc;
    d->seq[slot] = seq;
    d->next = seq + 1;
}

static void read_boot_id(void)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, boot, sizeof boot - 1);
    if (n < 36) {
        say("FATAL - boot_id");
        exit(1);
    }
    boot[36] = 0;
    close(fd);
}

static char **options(int argc, char **argv)
{
    static const struct option known[] = {
        { "file", no_argument, NULL, 'f' },         { "slots", required_argument, NULL, 's' },
        { "pace", required_argument, NULL, 'p' },   { "rounds", required_argument, NULL, 'r' },
        { "offset", required_argument, NULL, 'o' }, { "owner", required_argument, NULL, 'w' },
        { 0 },
    };
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (c) {
        case 'f': opt.file = 1; break; /* for tests/unit only: a plain file, no O_DIRECT */
        case 's': opt.slots = atol(optarg); break;
        case 'p': opt.pace_ms = atol(optarg); break;
        case 'r': opt.rounds = atol(optarg); break;
        case 'o': opt.offset = atoll(optarg); break;
        case 'w': opt.owner = optarg; break;
        default: exit(2);
        }
    if (opt.slots < 2 || opt.slots > MAX_SLOTS || opt.pace_ms < 0 || opt.offset < 0 || opt.offset % 4096 ||
        strlen(opt.owner) > 31 || optind == argc || argc - optind > MAX_DISKS) {
        say("FATAL - usage");
        exit(2);
    }
    return argv + optind;
}

int main(int argc, char **argv)
{
    static struct disk disks[MAX_DISKS];
    int n = 0;

    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    sigprocmask(SIG_BLOCK, &stop_signals, NULL);
    crc_init();
    read_boot_id();
    block = aligned_alloc(4096, BLOCK);
    old = aligned_alloc(4096, BLOCK);
    if (!block || !old)
        return 4;
    for (char **path = options(argc, argv); *path; path++)
        open_disk(&disks[n++], *path);
    for (long round = 0; round != opt.rounds; round++) {
        for (int i = 0; i < n; i++)
            step(&disks[i]);
        pause_or_stop(opt.pace_ms);
    }
    return 0;
}
