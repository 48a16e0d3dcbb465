/* Loaded in front of the C library: makes the FAULT_AT-th change of a file or folder fail with FAULT_ERRNO, that one
   alone or, with FAULT_STAYS, all that follow. With FAULT_CALLS only calls with one of these names count, with FAULT_UNDER
   only those on a path with one of these words in it; both are separated by spaces. Writes how many changes there were to
   FAULT_COUNT when the program ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long changes;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* Whether a list names the call, or a word of it is in the path. */
static int named(const char *list, const char *call, const char *path) {
    char words[1024], *rest = NULL;
    snprintf(words, sizeof words, "%s", list);
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (call ? !strcmp(call, word) : !!strstr(path, word)) return 1;
    return 0;
}

static int fails(const char *call, const char *path) {
    const char *calls = getenv("FAULT_CALLS"), *under = getenv("FAULT_UNDER");
    if ((calls && !named(calls, call, NULL)) || (under && !named(under, NULL, path))) return 0;
    long now = ++changes, at = number("FAULT_AT");
    if (at == 0 || now < at || (now > at && !number("FAULT_STAYS"))) return 0;
    errno = (int)number("FAULT_ERRNO");
    return 1;
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
}

/* The path of an open file or folder, and of a name in it. */
static const char *path_of(int fd, const char *name) {
    static _Thread_local char path[2 * PATH_MAX];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0 || (name && name[0] == '/')) length = 0;
    snprintf(path + length, PATH_MAX, "%s%s", name && length ? "/" : "", name ? name : "");
    return path;
}

#define NEXT(type, name) type (*next)() = (type (*)())dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t count) {
    NEXT(ssize_t, "write");
    return is_file(fd) && fails("write", path_of(fd, NULL)) ? -1 : next(fd, bytes, count);
}

int fsync(int fd) {
    NEXT(int, "fsync");
    struct stat found;
    const char *call = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode) ? "syncdir" : "fsync";
    return fails(call, path_of(fd, NULL)) ? -1 : next(fd);
}

int flock(int fd, int operation) {
    NEXT(int, "flock");
    return fails("flock", path_of(fd, NULL)) ? -1 : next(fd, operation);
}

int rename(const char *from, const char *to) {
    NEXT(int, "rename");
    return fails("rename", from) ? -1 : next(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    NEXT(int, "linkat");
    return fails("link", path_of(to_dir, to)) ? -1 : next(from_dir, from, to_dir, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(int, "mkdir");
    return fails("mkdir", path) ? -1 : next(path, mode);
}

int unlinkat(int dir, const char *path, int flags) {
    NEXT(int, "unlinkat");
    return fails("unlinkat", path_of(dir, path)) ? -1 : next(dir, path, flags);
}

int unlink(const char *path) {
    NEXT(int, "unlink");
    return fails("unlink", path) ? -1 : next(path);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(int, "ftruncate64");
    return fails("ftruncate", path_of(fd, NULL)) ? -1 : next(fd, length);
}

int open64(const char *path, int flags, ...) {
    NEXT(int, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return (flags & (O_CREAT | O_TRUNC)) && fails("open", path) ? -1 : next(path, flags, mode);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", (long)changes);
        fclose(file);
    }
}
