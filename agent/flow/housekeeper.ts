import { dayJst } from '../base/clock.ts';
import type { Clock } from '../model/ports.ts';
import { expire, refresh } from './refresh.ts';
import type { AfterCommit, Store } from './store.ts';

/** How often the day, the clock's trust and the register's freshness are looked at. */
const lookEveryMs = 15_000;

export interface HousekeeperOptions {
  readonly clock: Clock;
  readonly finish: (after: AfterCommit) => Promise<void>;
  /** Other parts' small duties, once a look: the disk, the marks they keep. */
  readonly duties: readonly (() => Promise<void> | void)[];
}

/**
 * Keeps `held` and `ready` near the truth: judges anew when the register, the day or what pauses everybody has
 * changed, and destroys what was held to its limit.
 */
export class Housekeeper {
  readonly #store: Store;
  readonly #options: HousekeeperOptions;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #loop: Promise<void> | undefined;
  #seen = '';

  constructor(store: Store, options: HousekeeperOptions) {
    this.#store = store;
    this.#options = options;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Looks at once: something has changed. */
  poke(): void {
    this.#wake.abort();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.abort();
    await this.#loop;
  }

  /** One look. Resolves when everything is as the register says; for commands that show the result. */
  async look(): Promise<void> {
    const { gate, time } = this.#store;
    const state = `${gate.version()} ${dayJst(time.now())} ${gate.paused() ?? ''}`;
    if (state !== this.#seen) {
      if (gate.paused() === 'register-stale') this.#store.report({ name: 'register.stale' });
      await refresh(this.#store, () => this.#breathe(), this.#stopping.signal);
      this.#seen = state;
    }
    for (let isDone = !time.isTrusted(); !isDone; ) {
      // Held to the limit is counted in days of a clock that can be believed.
      const { count, after } = expire(this.#store, time.now());
      await this.#options.finish(after);
      if (count > 0) this.#store.report({ name: 'hold.expired', numbers: { deliveries: count } });
      isDone = count === 0 || this.#stopping.signal.aborted;
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#wake = new AbortController();
      for (const duty of this.#options.duties) await duty();
      await this.look();
      await this.#options.clock.sleep(lookEveryMs, this.#wake.signal);
    }
  }

  /** Lets a turn of the event loop pass, so that ACKs go out between two slices. */
  #breathe(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}
