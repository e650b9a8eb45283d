import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Allocated between two looks by an agent that only waits: heartbeats and these looks make a tenth of it. */
const idleBytesMax = 4 * 1024 * 1024;
/** What is worth 40 ms of the loop. */
const worthBytes = 16 * 1024 * 1024;

/**
 * Collects the garbage of work that is over. V8 collects when somebody allocates, and an agent that waits for the night
 * allocates so little that what its start or its last run left behind, 8 MB and more, would stay for hours.
 */
export class IdleCollector {
  readonly #collect: () => void;
  readonly #allocated: () => number;
  #atLastLook = 0;
  #atLastCollection = 0;

  constructor(collect: () => void = collector(), allocated: () => number = allocatedBytes) {
    this.#collect = collect;
    this.#allocated = allocated;
  }

  /** To be called every few seconds: once little happens after much has, it collects. */
  look(): void {
    const now = this.#allocated();
    const isIdle = now - this.#atLastLook < idleBytesMax;
    this.#atLastLook = now;
    if (!isIdle || now - this.#atLastCollection < worthBytes) return;
    this.#collect();
    this.#atLastCollection = now;
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
