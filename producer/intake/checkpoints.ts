import type { Appender } from '../storage/store.ts';

export interface CheckpointOptions {
  readonly appender: Appender;
  /** Where the part begins. */
  readonly from: number;
  readonly everyBytes: number;
  /** Told an offset once all before it is durable. */
  readonly tell: (offset: number) => void;
}

/**
 * Makes a long part durable bit by bit, so that a crash costs the line little. One checkpoint at a time, while the next
 * bytes arrive, so that the line does not stand still for the disk.
 */
export class Checkpoints {
  readonly #options: CheckpointOptions;
  #begunAt: number;
  /** Never rejects: what went wrong is thrown to whoever asks next. */
  #running: Promise<void> = Promise.resolve();
  #failure: { readonly cause: unknown } | undefined;

  constructor(options: CheckpointOptions) {
    this.#options = options;
    this.#begunAt = options.from;
  }

  /** All up to `offset` was written. @throws what the checkpoint before ran into */
  async passed(offset: number): Promise<void> {
    const { appender, everyBytes, tell } = this.#options;
    if (offset - this.#begunAt < everyBytes) return;
    await this.end();
    this.#begunAt = offset;
    this.#running = appender
      .sync()
      .then(() => tell(offset))
      .catch((cause: unknown) => {
        this.#failure ??= { cause };
      });
  }

  /** Resolves when none is running. @throws what it ran into */
  async end(): Promise<void> {
    await this.#running;
    if (this.#failure) throw this.#failure.cause;
  }
}
