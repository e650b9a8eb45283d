/** Takes the blocks in the order they were filled. The promise resolves when the block may be filled anew. */
type Pass = (block: { readonly index: number; readonly bytes: number; readonly isLast: boolean }) => Promise<void>;

/**
 * Gathers bytes of any size into blocks of one size, in shared memory and used over and over: what follows works on
 * whole blocks, in other threads, while the next one is filled. A full block is passed on only once a further byte is
 * known, because the last one may have to be marked.
 *
 * What went wrong behind `pass` is thrown by the next call that has to wait, and by `end`.
 */
export class Blocks {
  readonly memory: readonly Buffer[];
  readonly #pass: Pass;
  /** By block: resolves when it is free, never rejects. */
  readonly #busy: Promise<void>[];
  #current = 0;
  #begunCount = 1;
  #filled = 0;
  #failure: { readonly cause: unknown } | undefined;

  constructor({ count, bytes }: { count: number; bytes: number }, pass: Pass) {
    this.memory = Array.from({ length: count }, () => Buffer.from(new SharedArrayBuffer(bytes)));
    this.#busy = this.memory.map(() => Promise.resolve());
    this.#pass = pass;
  }

  /** Copies. There is nothing to wait for while a block has room, as for most of the small records. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    const block = this.#block();
    if (bytes.length > block.length - this.#filled) return this.#writeAcross(bytes);
    this.#filled += copy(bytes, block, this.#filled);
    return undefined;
  }

  /** Passes the last block on, full or not. Resolves when every block is free. */
  async end(): Promise<void> {
    await this.#advance(true);
    await Promise.all(this.#busy);
    this.#throwFailure();
  }

  /** Forgets what is still in memory of the bytes. */
  wipe(): void {
    for (const block of this.memory.slice(0, this.#begunCount)) block.fill(0);
  }

  async #writeAcross(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length; ) {
      if (this.#filled === this.#block().length) await this.#advance(false);
      const piece = bytes.subarray(offset, offset + this.#block().length - this.#filled);
      this.#filled += copy(piece, this.#block(), this.#filled);
      offset += piece.length;
    }
  }

  async #advance(isLast: boolean): Promise<void> {
    const passed = this.#pass({ index: this.#current, bytes: this.#filled, isLast });
    this.#busy[this.#current] = passed.catch((cause: unknown) => {
      this.#failure ??= { cause };
    });
    this.#current = (this.#current + 1) % this.memory.length;
    this.#begunCount += 1;
    this.#filled = 0;
    await this.#busy[this.#current];
    this.#throwFailure();
  }

  #block(): Buffer {
    return this.memory[this.#current] as Buffer;
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.cause;
  }
}

/** Not `set`: into shared memory it copies byte by byte where the two are not aligned alike, ten times as slow. */
function copy(bytes: Uint8Array, into: Buffer, at: number): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).copy(into, at);
}
