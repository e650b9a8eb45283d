import { createCipheriv, randomBytes } from 'node:crypto';
import { Encrypter } from 'age-encryption';
import { blockBytes, chunkBytes, chunkNonce, cipher, nonceBytes, payloadKey, tagBytes } from './age-format.ts';
import { SideDigest } from './side-digest.ts';

/** Where sealed bytes go; a chunk handed over is not touched again until the promise resolves. */
interface SealedSink {
  write(chunk: Uint8Array): Promise<void>;
}

/**
 * Writes an age v1 file: header by npm `age-encryption`, payload by OpenSSL, which is six times as fast as that
 * package's own. Holds one chunk and two blocks; while one block is on its way to the disk the other is filled.
 *
 * `write` takes bytes of any size and is done with them when it resolves. After an error the writer is of no use.
 */
export class AgeWriter {
  readonly #sink: SealedSink;
  readonly #key: Buffer;
  readonly #digest = new SideDigest(blockBytes);
  readonly #pending = Buffer.allocUnsafe(chunkBytes);
  #filled = 0;
  #chunks = 0;
  #block = Buffer.from(new SharedArrayBuffer(blockBytes));
  #spare = Buffer.from(new SharedArrayBuffer(blockBytes));
  #used = 0;
  #bytes = 0;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(sink: SealedSink, key: Buffer) {
    this.#sink = sink;
    this.#key = key;
  }

  /** Writes the header. `recipients` have passed `parseRecipients`. */
  static async start(sink: SealedSink, recipients: readonly string[]): Promise<AgeWriter> {
    const { header, fileKey } = await newHeader(recipients);
    const nonce = randomBytes(nonceBytes);
    const writer = new AgeWriter(sink, payloadKey(fileKey, nonce));
    fileKey.fill(0);
    await writer.#emit(Buffer.concat([header, nonce]));
    return writer;
  }

  async write(plain: Uint8Array): Promise<void> {
    for (let offset = 0; offset < plain.length; ) {
      // A full chunk is sealed only once a further byte is known, because the last one carries a flag.
      if (this.#filled === chunkBytes) await this.#sealPending(false);
      if (this.#filled === 0 && plain.length - offset > chunkBytes) {
        await this.#seal(plain.subarray(offset, offset + chunkBytes), false);
        offset += chunkBytes;
        continue;
      }
      const take = Math.min(chunkBytes - this.#filled, plain.length - offset);
      this.#pending.set(plain.subarray(offset, offset + take), this.#filled);
      this.#filled += take;
      offset += take;
    }
  }

  /** Seals what is left. Resolves with the size and the digest (hex, SHA-256) of the whole sealed file. */
  async end(): Promise<{ bytes: number; sha256: string }> {
    await this.#sealPending(true);
    await this.#flush();
    await this.#settleWrite();
    return { bytes: this.#bytes, sha256: await this.#digest.digest() };
  }

  /** Forgets the key and what is still in memory of the plaintext, and ends the thread. Call it in any case. */
  async close(): Promise<void> {
    this.#key.fill(0);
    this.#pending.fill(0);
    await this.#digest.close();
  }

  async #sealPending(isLast: boolean): Promise<void> {
    await this.#seal(this.#pending.subarray(0, this.#filled), isLast);
    this.#filled = 0;
  }

  async #seal(plain: Uint8Array, isLast: boolean): Promise<void> {
    const chunk = createCipheriv(cipher, this.#key, chunkNonce(this.#chunks++, isLast), { authTagLength: tagBytes });
    const sealed = chunk.update(plain);
    this.#used += sealed.copy(this.#block, this.#used);
    release(sealed);
    chunk.final();
    this.#used += chunk.getAuthTag().copy(this.#block, this.#used);
    if (this.#used === blockBytes) await this.#flush();
  }

  async #flush(): Promise<void> {
    const sealed = this.#block.subarray(0, this.#used);
    [this.#block, this.#spare] = [this.#spare, this.#block];
    this.#used = 0;
    await this.#emit(sealed);
  }

  async #emit(sealed: Uint8Array): Promise<void> {
    await this.#settleWrite();
    // The failure is kept as a value and thrown by the next call: nobody awaits this promise while a block fills.
    this.#writing = Promise.all([this.#sink.write(sealed), this.#digest.update(sealed)]).then(
      () => undefined,
      (error: unknown) => error,
    );
    this.#bytes += sealed.length;
  }

  async #settleWrite(): Promise<void> {
    const error = await this.#writing;
    if (error !== undefined) throw error;
  }
}

/**
 * Gives a cipher's output back at once. OpenSSL's binding cannot write into a buffer of ours, and 64 MB of such
 * outputs would pile up before the collector looks: a third of what the process may use, and a tenth of its time.
 */
function release({ buffer }: Buffer): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
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
