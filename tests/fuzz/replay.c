/* SPDX-License-Identifier: MIT */
/* A fuzzer's committed corpus as a unit test: see replay.h. */
#include "replay.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* An input that can't be read is a broken test, not one input less. */
static size_t replay_read(const char *path, uint8_t *data, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t n;

    if (!file) {
        perror(path);
        abort();
    }
    n = fread(data, 1, room, file);
    fclose(file);
    return n;
}

unsigned int fuzz_replay(const char *corpus)
{
    static uint8_t data[1 << 16];
    DIR *dir = opendir(corpus);
    unsigned int inputs = 0;
    struct dirent *entry;

    if (!dir)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", corpus, entry->d_name);
        LLVMFuzzerTestOneInput(data, replay_read(path, data, sizeof(data)));
        inputs++;
    }
    closedir(dir);
    return inputs;
}
