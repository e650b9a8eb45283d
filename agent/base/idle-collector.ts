import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock } from '../model/ports.ts';

/** What an agent that only waits allocates in a second, at most: heartbeats, TLS handshakes and these looks make half. */
const idleBytesMax = 1024 * 1024;
/** Shorter stretches say little: it is looked at whenever something changes, too. */
const stretchMs = 10_000;
/** What is worth 40 ms of the loop. */
const worthBytes = 32 * 1024 * 1024;

export interface IdleCollectorOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly collect?: () => void;
  /** Bytes this process has ever allocated in V8's heap. */
  readonly allocated?: () => number;
}

/**
 * Collects the garbage of work that is over. V8 collects when somebody allocates, and an agent that waits for the night
 * allocates so little that what its start or its last run left behind, 8 MB and more, would stay for hours.
 */
export class IdleCollector {
  readonly #options: Required<IdleCollectorOptions>;
  #last: { readonly at: number; readonly bytes: number };
  #collectedBytes = 0;

  constructor({ clock, collect = collector(), allocated = allocatedBytes }: IdleCollectorOptions) {
    this.#options = { clock, collect, allocated };
    this.#last = { at: clock.monotonic(), bytes: allocated() };
  }

  /** To be called every few seconds: once little happens after much has, it collects. */
  look(): void {
    const { clock, collect, allocated } = this.#options;
    const now = { at: clock.monotonic(), bytes: allocated() };
    const spentMs = now.at - this.#last.at;
    if (spentMs < stretchMs) return;
    const isIdle = now.bytes - this.#last.bytes < (idleBytesMax * spentMs) / 1000;
    this.#last = now;
    if (!isIdle || now.bytes - this.#collectedBytes < worthBytes) return;
    collect();
    this.#collectedBytes = now.bytes;
  }
}

function allocatedBytes(): number {
  return getHeapStatistics().total_allocated_bytes;
}

/** V8's own `gc`, which only a flag makes visible, and only to a context made after it. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
