/* A disk whose fsync fails while the file of TEST_SYNC_FAILS is there. Loaded before the C library. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(void)
{
    const char *path = getenv("TEST_SYNC_FAILS");
    if (!path || access(path, F_OK) != 0)
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int file)
{
    return fails() ? -1 : (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    return fails() ? -1 : (int)syscall(SYS_fdatasync, file);
}
