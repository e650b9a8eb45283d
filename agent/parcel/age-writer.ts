import { randomBytes } from 'node:crypto';
import { Encrypter } from 'age-encryption';
import {
  chunkBytes,
  cipher,
  nonceBytes,
  payloadKey,
  payloadKeyBytes,
  plainBlockBytes,
  sealedBlockBytes,
  tagBytes,
} from './age-format.ts';
import { BlockThread } from './block-thread.ts';
import { Blocks } from './blocks.ts';

/** Where sealed bytes go; a block handed over is not touched again until the promise resolves. */
interface SealedSink {
  write(block: Uint8Array): Promise<void>;
}

interface SealTask {
  readonly index: number;
  readonly bytes: number;
  readonly isLast: boolean;
}

interface SealAnswer {
  readonly bytes: number;
  readonly sha256: string | undefined;
}

/** One is filled, one is sealed, one is written. 12 MiB with the sealed ones. */
const blockCount = 3;

/**
 * Writes an age v1 file: header by npm `age-encryption`, payload by OpenSSL, which is six times as fast as that
 * package's own, on a thread of its own. Bounded: three blocks of 2 MiB, plain, and as many sealed.
 *
 * `write` takes bytes of any size and is done with them when it resolves. After an error the writer is of no use.
 */
export class AgeWriter {
  readonly #sink: SealedSink;
  readonly #key: Buffer;
  readonly #blocks: Blocks;
  readonly #sealed: readonly Buffer[];
  readonly #thread: BlockThread<SealTask, SealAnswer>;
  /** The last write begun; they go out one after another. */
  #written: Promise<void> = Promise.resolve();
  #bytes: number;
  #sha256 = '';

  private constructor(sink: SealedSink, head: Buffer, key: Buffer) {
    this.#sink = sink;
    this.#key = key;
    this.#bytes = head.length;
    this.#blocks = new Blocks({ count: blockCount, bytes: plainBlockBytes }, (block) => this.#seal(block));
    this.#sealed = this.#blocks.memory.map(() => sharedBuffer(sealedBlockBytes));
    const [plain, sealed] = [this.#blocks.memory, this.#sealed];
    const task = { plain, sealed, head, key, cipher, chunkBytes, tagBytes };
    this.#thread = new BlockThread(new URL('./seal-thread.mjs', import.meta.url), task);
  }

  /** Writes the header. `recipients` have passed `parseRecipients`. */
  static async start(sink: SealedSink, recipients: readonly string[]): Promise<AgeWriter> {
    const { header, fileKey } = await newHeader(recipients);
    const nonce = randomBytes(nonceBytes);
    const head = Buffer.concat([header, nonce]);
    await sink.write(head);
    // Shared with the thread, so that it can be forgotten in one place.
    const key = sharedBuffer(payloadKeyBytes);
    key.set(payloadKey(fileKey, nonce));
    fileKey.fill(0);
    return new AgeWriter(sink, head, key);
  }

  /** There is nothing to wait for while a block has room. */
  write(plain: Uint8Array): Promise<void> | undefined {
    return this.#blocks.write(plain);
  }

  /** Seals what is left. Resolves with the size and the digest (hex, SHA-256) of the whole sealed file. */
  async end(): Promise<{ bytes: number; sha256: string }> {
    await this.#blocks.end();
    return { bytes: this.#bytes, sha256: this.#sha256 };
  }

  /** Ends the thread and forgets the key and what is still in memory of the plaintext. Call it in any case. */
  async close(): Promise<void> {
    await this.#thread.close();
    this.#key.fill(0);
    this.#blocks.wipe();
  }

  async #seal(block: SealTask): Promise<void> {
    const { bytes, sha256 } = await this.#thread.ask(block);
    if (sha256 !== undefined) this.#sha256 = sha256;
    this.#bytes += bytes;
    // Answers come in the order of the blocks, and so do these.
    this.#written = this.#written.then(() => this.#sink.write(this.#sealedBlock(block.index).subarray(0, bytes)));
    await this.#written;
  }

  #sealedBlock(index: number): Buffer {
    return this.#sealed[index] as Buffer;
  }
}

function sharedBuffer(bytes: number): Buffer {
  return Buffer.from(new SharedArrayBuffer(bytes));
}

/**
 * A header and the file key it wraps. The package offers no way to ask for the key, but a recipient of one's own is
 * shown it: ours looks and adds no stanza. The empty payload the package appends is cut off again.
 */
async function newHeader(recipients: readonly string[]): Promise<{ header: Buffer; fileKey: Buffer }> {
  const encrypter = new Encrypter();
  let fileKey = Buffer.alloc(0);
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = Buffer.from(key);
      return [];
    },
  });
  const empty = Buffer.from(await encrypter.encrypt(new Uint8Array(0)));
  return { header: empty.subarray(0, empty.length - nonceBytes - tagBytes), fileKey };
}
