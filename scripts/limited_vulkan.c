/* A Vulkan driver with less memory: another driver, some of whose allocations are refused. `.ci/devices` tests with it what
 * becomes of a run on a device that has not enough.
 *
 *     cc -shared -fPIC -o limited.so scripts/limited_vulkan.c -ldl -lpthread
 *
 * LIMITED_DRIVER is the path of the other driver's library, LIMITED_BYTES how much may be in use at once (without it, any
 * amount). At the end of the process it says how much there was at most. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *of, const char *name);
/* VkMemoryAllocateInfo. */
typedef struct {
    uint32_t structure;
    const void *next;
    uint64_t size;
    uint32_t type;
} Allocation;

enum { OUT_OF_DEVICE_MEMORY = -2, MOST = 1 << 16 };

static Lookup of_device;
static int (*allocate)(void *, const Allocation *, const void *, uint64_t *);
static void (*release)(void *, uint64_t, const void *);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t handle, size;
} held[MOST];
static int count;
static uint64_t used, peak;

static int limited_allocate(void *device, const Allocation *wanted, const void *allocator, uint64_t *handle) {
    const char *limit = getenv("LIMITED_BYTES");
    int result = OUT_OF_DEVICE_MEMORY;
    pthread_mutex_lock(&lock);
    if (count < MOST && (!limit || used + wanted->size <= strtoull(limit, NULL, 10)))
        result = allocate(device, wanted, allocator, handle);
    if (result == 0) {
        held[count].handle = *handle;
        held[count++].size = wanted->size;
        used += wanted->size;
        peak = used > peak ? used : peak;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void limited_release(void *device, uint64_t handle, const void *allocator) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) {
        if (held[i].handle == handle) {
            used -= held[i].size;
            held[i] = held[--count];
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    release(device, handle, allocator);
}

static Function limited(const char *name, Function function);

static Function limited_of_device(void *device, const char *name) {
    return limited(name, of_device(device, name));
}

/* The function that stands in for the driver's. */
static Function limited(const char *name, Function function) {
    if (function && !strcmp(name, "vkAllocateMemory")) {
        allocate = (void *)function;
        return (Function)limited_allocate;
    }
    if (function && !strcmp(name, "vkFreeMemory")) {
        release = (void *)function;
        return (Function)limited_release;
    }
    if (function && !strcmp(name, "vkGetDeviceProcAddr")) {
        of_device = (Lookup)function;
        return (Function)limited_of_device;
    }
    return function;
}

static void *symbol(const char *name) {
    static void *driver;
    const char *path = getenv("LIMITED_DRIVER");
    if (!driver && !(driver = dlopen(path ? path : "", RTLD_NOW))) {
        fprintf(stderr, "LIMITED_DRIVER: %s\n", dlerror());
        exit(1);
    }
    return dlsym(driver, name);
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    Lookup lookup = (Lookup)symbol("vk_icdGetInstanceProcAddr");
    return limited(name, lookup(instance, name));
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    Lookup lookup = (Lookup)symbol("vk_icdGetPhysicalDeviceProcAddr");
    return lookup ? lookup(instance, name) : NULL;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int (*negotiate)(uint32_t *) = (int (*)(uint32_t *))symbol("vk_icdNegotiateLoaderICDInterfaceVersion");
    return negotiate(version);
}

/* Loaders look at a driver several times before they use it. */
__attribute__((destructor)) static void tell(void) {
    if (peak)
        fprintf(stderr, "memory of the device: %llu bytes at most\n", (unsigned long long)peak);
}
