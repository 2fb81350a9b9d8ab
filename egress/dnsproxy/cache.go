package dnsproxy

import (
	"sync"
	"time"
)

// cache keeps answers for as long as their TTLs allow, and no more than its
// bounds: the least recently used goes first.
type cache struct {
	maxEntries, maxBytes int
	minTTL, maxTTL       time.Duration

	mu      sync.Mutex
	entries map[string]*entry
	ring    entry // sentinel: next is the most recently used
	bytes   int
}

// entry is one cached answer. All but the links is immutable.
type entry struct {
	key        string
	ans        *answer
	born, ends time.Time
	size       int
	prev, next *entry
}

// entryOverhead estimates what an entry costs beside its bytes.
const entryOverhead = 256

func newCache(c *Config) *cache {
	k := &cache{
		maxEntries: c.CacheEntries, maxBytes: c.CacheBytes,
		minTTL: c.MinTTL, maxTTL: c.MaxTTL,
		entries: make(map[string]*entry),
	}
	k.ring.prev, k.ring.next = &k.ring, &k.ring
	return k
}

// get returns the entry of a key and its age in seconds.
func (k *cache) get(key []byte, now time.Time) (e *entry, age uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e = k.entries[string(key)]
	if e == nil {
		return nil, 0
	}
	if !now.Before(e.ends) {
		k.remove(e)
		return nil, 0
	}
	if k.ring.next != e {
		e.prev.next, e.next.prev = e.next, e.prev
		k.pushFront(e)
	}
	return e, uint32(max(0, now.Sub(e.born)/time.Second))
}

// put keeps an answer, if its TTL and the bounds allow.
func (k *cache) put(key string, ans *answer, now time.Time) {
	ttl := time.Duration(ans.lifetime) * time.Second
	if ttl > 0 { // zero is for this transaction only (RFC 1035, 3.2.1)
		ttl = max(ttl, k.minTTL)
	}
	ttl = min(ttl, k.maxTTL)
	e := &entry{key: key, ans: ans, born: now, ends: now.Add(ttl)}
	e.size = entryOverhead + len(key) + len(ans.tail) + 2*len(ans.ttls)
	for _, t := range ans.texts {
		e.size += len(t) + 16
	}
	if ttl <= 0 || e.size > k.maxBytes || k.maxEntries <= 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.entries[key]; old != nil {
		k.remove(old)
	}
	k.entries[key] = e
	k.bytes += e.size
	k.pushFront(e)
	for len(k.entries) > k.maxEntries || k.bytes > k.maxBytes {
		k.remove(k.ring.prev)
	}
}

func (k *cache) pushFront(e *entry) {
	e.prev, e.next = &k.ring, k.ring.next
	e.prev.next, e.next.prev = e, e
}

func (k *cache) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	delete(k.entries, e.key)
	k.bytes -= e.size
}
