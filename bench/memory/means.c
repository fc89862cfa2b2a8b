// What it costs to give the memory of a burst back, by the means that glibc and the kernel offer.
//
//   cc -O2 -o means means.c && ./means [glibc|fixed|heap|mmap|free]
//   LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 ./means other
//
// A burst is 5,000 blocks of 64 KiB that are filled and given back in another order, with a small block that stays after
// each eighth: what a worker sees when many connections hold a part of a message at once. One line per means, in JSON:
// memory at the peak, after the blocks were given back, and after what the means does then; how long that stands still; and
// what a warm cycle of get, fill a little, give back costs for one block.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 5000, BYTES = (64 << 10) + 14, LARGE = (1 << 20) + 14 };

static int map_blocks;

static void *get(size_t bytes) {
  if (!map_blocks) return malloc(bytes);
  return mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void give_back(void *block, size_t bytes) {
  if (map_blocks) munmap(block, bytes);
  else free(block);
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double rss_mib(void) {
  long total, resident;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%ld %ld", &total, &resident) != 2) exit(1);
  fclose(file);
  return resident * (double)getpagesize() / (1 << 20);
}

// Microseconds of one cycle: a block whose pages are all touched.
static double cycle_us(size_t bytes) {
  enum { ROUNDS = 2000 };
  double began = now_us();
  for (int n = 0; n < ROUNDS; n++) {
    char *block = get(bytes);
    for (size_t at = 0; at < bytes; at += 4096) ((volatile char *)block)[at] = 1;
    give_back(block, bytes);
  }
  return (now_us() - began) / ROUNDS;
}

int main(int argc, char **argv) {
  const char *means = argc > 1 ? argv[1] : "glibc";
  map_blocks = !strcmp(means, "mmap");
  if (!strcmp(means, "fixed")) mallopt(M_MMAP_THRESHOLD, 128 << 10);
  if (!strcmp(means, "heap")) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
  }
  static char *blocks[BLOCKS], *small[BLOCKS / 8];
  // One large block first: it moves the threshold of glibc up, as any large message does.
  give_back(get(LARGE), LARGE);
  double idle = rss_mib();
  for (int n = 0; n < BLOCKS; n++) {
    blocks[n] = get(BYTES);
    memset(blocks[n], 1, BYTES);
    if (n % 8 == 0) small[n / 8] = malloc(100);
  }
  double peak = rss_mib(), began = now_us();
  for (int n = 0; n < BLOCKS; n++) give_back(blocks[n * 7L % BLOCKS], BYTES);
  double freeing_us = now_us() - began, freed = rss_mib();
  began = now_us();
  if (strcmp(means, "other")) malloc_trim(0);
  double trim_us = now_us() - began, trimmed = rss_mib();
  began = now_us();
  if (strcmp(means, "other")) malloc_trim(0);
  double again_us = now_us() - began;
  sleep(2);
  free(malloc(BYTES));
  double rested = rss_mib();
  double small_cycle = cycle_us(BYTES), large_cycle = cycle_us(LARGE);
  printf("{\"means\": \"%s\", \"preload\": \"%s\", \"idle_mib\": %.1f, \"peak_mib\": %.1f, \"freed_mib\": %.1f, "
         "\"freeing_us\": %.0f, \"trimmed_mib\": %.1f, \"trim_us\": %.0f, \"trim_again_us\": %.0f, \"rested_mib\": %.1f, "
         "\"cycle_64k_us\": %.2f, \"cycle_1m_us\": %.2f}\n",
         means, getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "", idle, peak, freed, freeing_us, trimmed, trim_us,
         again_us, rested, small_cycle, large_cycle);
  return small[0] == 0;
}
