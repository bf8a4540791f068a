/* SPDX-License-Identifier: MIT */
/*
 * vgpu-selftest: what a guest program may do to a vgpu device and what it must get
 * for it.  Runs the tests of the named groups (all without names), each in a process
 * of its own, and prints TAP.
 *
 *   vgpu-selftest [-d DEVICE] [-k DIR] [-t SECONDS] [-l] [GROUP...]
 *
 * -x FD is for its own use: a test executes the program anew with a device open.
 */
#include "st.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct st_group *const groups[] = {
    &st_group_ioctl,   &st_group_mmap,   &st_group_queue,  &st_group_fork, &st_group_copy,
    &st_group_command, &st_group_module, &st_group_stress, &st_group_kill,
};

#define NGROUPS (sizeof(groups) / sizeof(groups[0]))

static unsigned int deadline_s = ST_DEADLINE_S; /* of one test */

static bool is_chosen(const struct st_test *test, char **names)
{
    bool any = false;

    for (; *names; names++) {
        any = true;
        if (!strcmp(*names, test->group) || !strcmp(*names, test->name))
            return true;
    }
    return !any;
}

/* Exit status of the test's process, or 128 + signal. */
static int run_in_child(const struct st_test *test)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        printf("# fork: %s\n", strerror(errno));
        return 1;
    }
    if (pid == 0) {
        alarm(deadline_s);
        test->fn();
        fflush(stdout);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool run_test(const struct st_test *test, unsigned int number)
{
    int status = run_in_child(test);

    if (status > 128)
        printf("# ended by signal %d%s\n", status - 128,
               status - 128 == SIGALRM ? ": deadline" : "");
    if (status == 77)
        printf("ok %u - %s: %s # SKIP\n", number, test->group, test->name);
    else
        printf("%sok %u - %s: %s\n", status ? "not " : "", number, test->group, test->name);
    fflush(stdout);
    return status == 0 || status == 77;
}

static int run_all(char **names)
{
    unsigned int number = 0, failed = 0;

    for (size_t g = 0; g < NGROUPS; g++) {
        for (size_t t = 0; t < groups[g]->ntests; t++) {
            const struct st_test *test = &groups[g]->tests[t];

            if (is_chosen(test, names) && !run_test(test, ++number))
                failed++;
        }
    }
    printf("1..%u\n", number);
    if (!number)
        printf("# no such test\n");
    return failed || !number ? 1 : 0;
}

static int list_all(void)
{
    for (size_t g = 0; g < NGROUPS; g++)
        for (size_t t = 0; t < groups[g]->ntests; t++)
            printf("%s: %s\n", groups[g]->tests[t].group, groups[g]->tests[t].name);
    return 0;
}

int main(int argc, char **argv)
{
    char *end;
    int opt;

    while ((opt = getopt(argc, argv, "d:k:lt:x:h")) != -1) {
        switch (opt) {
        case 'd': st_options.device = optarg; break;
        case 'k': st_options.kernel_dir = optarg; break;
        case 'l': return list_all();
        case 't':
            deadline_s = (unsigned int)strtoul(optarg, &end, 10);
            if (*end || !deadline_s) {
                fprintf(stderr, "vgpu-selftest: -t %s: seconds, 1 or more\n", optarg);
                return 2;
            }
            break;
        case 'x': return st_after_exec(optarg);
        default:
            fprintf(opt == 'h' ? stdout : stderr,
                    "usage: vgpu-selftest [-d DEVICE] [-k DIR] [-t SECONDS] [-l] "
                    "[GROUP|NAME...]\n");
            return opt == 'h' ? 0 : 2;
        }
    }
    return run_all(argv + optind);
}
