//go:build dpdk

// The environment abstraction layer: once for a process.

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include "internal.h"

struct start {
	int argc, result;
	char **argv;
};

static void *start_eal(void *arg) {
	struct start *s = arg;
	s->result = rte_eal_init(s->argc, s->argv);
	if (s->result < 0)
		s->result = -rte_errno;
	return NULL;
}

// evg_eal_start starts EAL on a thread of its own, because it binds the one that it
// runs on to a CPU. The threads that it starts get no signals: those are for Go's.
int evg_eal_start(int argc, char **argv) {
	struct start s = {.argc = argc, .argv = argv};
	pthread_t t;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&t, NULL, start_eal, &s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err != 0)
		return -err;
	pthread_join(t, NULL);
	return s.result < 0 ? s.result : 0;
}

int evg_vdev_add(const char *name, const char *args) {
	return rte_vdev_init(name, args);
}

int evg_vdev_remove(const char *name) {
	return rte_vdev_uninit(name);
}
