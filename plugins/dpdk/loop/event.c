//go:build dpdk

// What workers noticed, kept for Go. Events are rare by construction: once for an
// SA and role, a lease or a second.

#include <unistd.h>

#include "internal.h"

void events_init(struct events *e, int fd) {
	rte_spinlock_init(&e->lock);
	e->fd = fd;
}

// wake has Go look for what it is told or asked.
void wake(struct evg_plane *p) {
	uint64_t one = 1;
	ssize_t ignored = write(p->events.fd, &one, sizeof one); // a full eventfd wakes too
	(void)ignored;
}

// tell queues an event, unless the queue is full, and wakes who waits.
void tell(struct evg_plane *p, const struct evg_event *e) {
	struct events *q = &p->events;
	rte_spinlock_lock(&q->lock);
	if (q->n < MAX_EVENTS && q->lost == 0)
		q->ring[(q->head + q->n++) % MAX_EVENTS] = *e;
	else
		q->lost++;
	rte_spinlock_unlock(&q->lock);
	wake(p);
}

void evg_plane_push(struct evg_plane *p, const struct evg_event *e) {
	tell(p, e);
}

void tell_sa(struct worker *w, struct evg_sa *sa, uint8_t kind, uint64_t value) {
	struct evg_event e = {.kind = kind, .serial = sa->serial, .group = atomic_load(&sa->group), .value = value};
	struct evg_tunnel *t = atomic_load(&sa->tunnel);
	if (t != NULL)
		e.tunnel = t->id;
	tell(w->p, &e);
}

// evg_plane_events takes up to n events; lost gets how many are missing behind
// them, when the queue is empty then.
uint32_t evg_plane_events(struct evg_plane *p, struct evg_event *out, uint32_t n, uint64_t *lost) {
	struct events *q = &p->events;
	uint32_t got = 0;
	*lost = 0;
	rte_spinlock_lock(&q->lock);
	for (; got < n && q->n > 0; got++, q->n--) {
		out[got] = q->ring[q->head];
		q->head = (q->head + 1) % MAX_EVENTS;
	}
	if (q->n == 0) {
		*lost = q->lost;
		q->lost = 0;
	}
	rte_spinlock_unlock(&q->lock);
	return got;
}

int evg_plane_event_fd(struct evg_plane *p) {
	return p->events.fd;
}

// acquire asks for an SA for a packet. Equal ones are merged for a second, in a
// fixed number of slots.
void acquire(struct worker *w, const struct header *h) {
	uint64_t slot = h->proto * 31u + h->src_port * 7u + h->dst_port;
	for (int i = 0; i < 16; i++)
		slot = slot * 131 + h->src[i] * 17u + h->dst[i];
	uint64_t *until = &w->acquire_until[slot % ACQUIRE_SLOTS];
	if (w->now < *until)
		return;
	*until = w->now + SECOND;
	struct evg_event e = {
		.kind = EVG_ACQUIRE, .proto = h->proto, .has_ports = h->has_ports,
		.port = h->src_port, .remote_port = h->dst_port,
		.local.v6 = h->v6, .remote.v6 = h->v6,
	};
	memcpy(e.local.b, h->src, 16);
	memcpy(e.remote.b, h->dst, 16);
	tell(w->p, &e);
}
