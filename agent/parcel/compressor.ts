import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib';
import { Blocks } from './blocks.ts';
import type { PlainSink } from './parcel-tar.ts';

/** A trip to the compressor's thread for each lab result would be felt. */
const blockBytes = 1024 * 1024;

/** One is filled, one is compressed, and one makes up for their taking turns. */
const blockCount = 3;

const options = { chunkSize: 256 * 1024, params: { [constants.ZSTD_c_compressionLevel]: 3 } } as const;

/** `zstd -3` on the thread pool, into another sink. Bounded: three blocks, and what the compressor itself needs. */
export class Compressor implements PlainSink {
  readonly #zstd: ZstdCompress = createZstdCompress(options);
  readonly #blocks = new Blocks({ count: blockCount, bytes: blockBytes }, (block) => this.#compress(block));
  readonly #drained: Promise<void>;

  constructor(sink: PlainSink) {
    this.#drained = this.#drain(sink);
    // Whoever writes or ends is told; until then nobody listens.
    this.#drained.catch(toldLater);
  }

  write(plain: Uint8Array): Promise<void> | undefined {
    return this.#blocks.write(plain);
  }

  /** Resolves when the sink has taken all of it. */
  async end(): Promise<void> {
    await this.#blocks.end();
    this.#zstd.end();
    await this.#drained;
  }

  /** Lets go of the compressor and forgets what is still in memory of the plaintext. Call it in any case. */
  close(): void {
    this.#zstd.destroy();
    this.#blocks.wipe();
  }

  async #compress({ index, bytes }: { index: number; bytes: number }): Promise<void> {
    const block = this.#blocks.memory[index]?.subarray(0, bytes);
    const { promise: taken, resolve } = Promise.withResolvers<void>();
    // An error comes by way of what drains; the compressor calls back in any case, or never.
    this.#zstd.write(block, () => resolve());
    await Promise.race([taken, this.#drained]);
  }

  async #drain(sink: PlainSink): Promise<void> {
    for await (const piece of this.#zstd as AsyncIterable<Uint8Array>) await sink.write(piece);
  }
}

function toldLater(): void {
  // See the constructor.
}
