/* SPDX-License-Identifier: MIT */
/*
 * The fault plan: VGPU_FAKECUDA_PLAN in the environment or the settings file.
 *
 *   plan  = rule *( ";" rule )
 *   rule  = function ":" nth ":" what
 *   nth   = number          1 is the first call, 0 is every call
 *         | number "+"      that one and all later ones
 *   what  = number          the nth call returns this CUresult
 *         | "stall=" ms     ... takes that long before it does its work
 *         | "hang"          ... never returns
 *         | "die"           ... kills the process with SIGKILL
 *         | "skip"          ... returns success and does nothing, as no driver should
 *
 * Calls are counted from the start, or from the first call of the function that
 * VGPU_FAKECUDA_PLAN_AFTER names (that call excluded).
 *
 * A plan that can't be read ends the process: a test must not pass because its fault was
 * misspelt.  For the same reason each rule says so on standard error when it applies first:
 * "fakecuda: FUNCTION call N".
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "fake.h"

#define MAX_RULES 32

struct rule {
    char function[48];
    unsigned long nth;
    bool later; /* and all later calls */
    enum { RULE_RETURN, RULE_STALL, RULE_HANG, RULE_DIE, RULE_SKIP } what;
    unsigned long number;
    atomic_ulong calls, applied;
};

static struct rule rules[MAX_RULES];
static unsigned int rule_count;
static const char *after; /* NULL: from the start */
static atomic_bool begun;
static pthread_once_t parsed = PTHREAD_ONCE_INIT;

static void bad_plan(const char *text)
{
    fprintf(stderr, "fakecuda: can't read the rule '%s' of VGPU_FAKECUDA_PLAN\n", text);
    abort();
}

static void rule_parse(char *text)
{
    struct rule *rule = &rules[rule_count];
    char nth[16], what[32];
    char *end;

    if (rule_count == MAX_RULES ||
        sscanf(text, "%47[^:]:%15[^:]:%31s", rule->function, nth, what) != 3)
        bad_plan(text);
    rule->nth = strtoul(nth, &end, 10);
    rule->later = *end == '+';
    if (end == nth || end[rule->later] != '\0')
        bad_plan(text);
    if (strncmp(what, "stall=", 6) == 0) {
        rule->what = RULE_STALL;
        rule->number = strtoul(what + 6, &end, 10);
    } else if (strcmp(what, "hang") == 0 || strcmp(what, "die") == 0) {
        rule->what = what[0] == 'h' ? RULE_HANG : RULE_DIE;
        end = "";
    } else if (strcmp(what, "skip") == 0) {
        rule->what = RULE_SKIP;
        end = "";
    } else {
        rule->what = RULE_RETURN;
        rule->number = strtoul(what, &end, 10);
    }
    if (*end != '\0')
        bad_plan(text);
    rule_count++;
}

static void parse(void)
{
    const char *plan = fake_setting("VGPU_FAKECUDA_PLAN");
    char *copy, *rest, *text;

    if (!plan || plan[0] == '\0')
        return;
    after = fake_setting("VGPU_FAKECUDA_PLAN_AFTER");
    copy = strdup(plan);
    if (!copy)
        bad_plan(plan);
    for (rest = copy; (text = strsep(&rest, ";"));)
        rule_parse(text);
    free(copy);
}

static CUresult rule_apply(struct rule *rule, unsigned long call)
{
    struct timespec delay = {(time_t)(rule->number / 1000), (long)(rule->number % 1000) * 1000000};

    if (atomic_fetch_add(&rule->applied, 1) == 0)
        fprintf(stderr, "fakecuda: %s call %lu\n", rule->function, call);
    switch (rule->what) {
    case RULE_STALL: nanosleep(&delay, NULL); return CUDA_SUCCESS;
    case RULE_HANG:
        for (;;)
            pause();
    case RULE_DIE: kill(getpid(), SIGKILL); return CUDA_SUCCESS;
    case RULE_SKIP: return FAKE_SKIP;
    default: return (CUresult)rule->number;
    }
}

/* Driver API, CUresult: "To continue using CUDA, the process must be terminated and relaunched." */
bool fake_is_sticky(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK: return true;
    default: return false;
    }
}

CUresult fake_plan(const char *function)
{
    CUresult result = CUDA_SUCCESS;

    pthread_once(&parsed, parse);
    if (after && !atomic_load(&begun)) {
        if (strcmp(function, after) == 0)
            atomic_store(&begun, true);
        return CUDA_SUCCESS;
    }
    for (unsigned int i = 0; i < rule_count && result == CUDA_SUCCESS; i++) {
        if (strcmp(rules[i].function, function) != 0)
            continue;
        unsigned long call = atomic_fetch_add(&rules[i].calls, 1) + 1;

        if (call == rules[i].nth || rules[i].nth == 0 || (rules[i].later && call > rules[i].nth))
            result = rule_apply(&rules[i], call);
    }
    if (fake_current && fake_is_sticky(result))
        fake_lose(fake_current, result);
    return result;
}
