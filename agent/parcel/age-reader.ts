import { createDecipheriv, createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { Decrypter } from 'age-encryption';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { chunkBytes, chunkNonce, cipher, nonceBytes, payloadKey, sealedBlockBytes, tagBytes } from './age-format.ts';

/** Largest header read: thirty hybrid post-quantum recipients, of about 2 KiB each. */
const headerBytesMax = 64 * 1024;

/**
 * Reads an age v1 file from the disk. Every chunk is authenticated before it is given out, but that the file is
 * *whole* is known only when `plain` has ended: whoever writes the plaintext somewhere must be able to take it back.
 */
export class AgeReader {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #digest = createHash('sha256');
  readonly #key: Buffer;
  readonly #payloadAt: number;
  /** Of the sealed file. */
  readonly bytes: number;

  private constructor(handle: FileHandle, path: string, bytes: number, key: Buffer, payloadAt: number) {
    this.#handle = handle;
    this.#path = path;
    this.bytes = bytes;
    this.#key = key;
    this.#payloadAt = payloadAt;
  }

  /**
   * Opens the header with the first identity that fits.
   *
   * @throws ConnectorError FILE_UNREADABLE, PARCEL_NOT_AGE, PARCEL_NOT_FOR_US
   */
  static async open(path: string, identities: readonly string[]): Promise<AgeReader> {
    const handle = await open(path, 'r').catch((cause: unknown) => Promise.reject(unreadable(path, cause)));
    try {
      const { size } = await handle.stat();
      const head = await readAt(handle, path, Buffer.alloc(Math.min(size, headerBytesMax + nonceBytes)), 0);
      const header = head.subarray(0, headerLength(head));
      const nonce = head.subarray(header.length, header.length + nonceBytes);
      if (nonce.length < nonceBytes) throw new ConnectorError('PARCEL_NOT_AGE');
      const fileKey = await unwrap(header, identities);
      const reader = new AgeReader(handle, path, size, payloadKey(fileKey, nonce), header.length + nonceBytes);
      fileKey.fill(0);
      reader.#digest.update(header).update(nonce);
      return reader;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * The plaintext, chunk by chunk, once.
   *
   * @throws ConnectorError PARCEL_DAMAGED - altered, truncated, or lengthened; what came before must not be used.
   */
  async *plain(): AsyncGenerator<Buffer> {
    const block = Buffer.allocUnsafe(sealedBlockBytes);
    let chunk = 0;
    let position = this.#payloadAt;
    do {
      const length = Math.min(sealedBlockBytes, this.bytes - position);
      const sealed = await readAt(this.#handle, this.#path, block.subarray(0, length), position);
      this.#digest.update(sealed);
      position += length;
      for (let offset = 0; offset === 0 || offset < length; offset += chunkBytes + tagBytes) {
        const piece = sealed.subarray(offset, offset + chunkBytes + tagBytes);
        yield this.#openChunk(piece, chunk++, position === this.bytes && offset + piece.length === length);
      }
    } while (position < this.bytes);
  }

  /** Hex SHA-256 of the whole sealed file; asked once, after `plain` has ended. */
  sha256(): string {
    return this.#digest.digest('hex');
  }

  /** Harmless twice. */
  async close(): Promise<void> {
    this.#key.fill(0);
    await this.#handle.close();
  }

  #openChunk(sealed: Uint8Array, index: number, isLast: boolean): Buffer {
    const plainBytes = sealed.length - tagBytes;
    // An empty last chunk after others would be a second spelling of the same plaintext (age.md, "Payload").
    if (plainBytes < 0 || (plainBytes === 0 && index > 0)) throw new ConnectorError('PARCEL_DAMAGED', { chunk: index });
    try {
      const opened = createDecipheriv(cipher, this.#key, chunkNonce(index, isLast), { authTagLength: tagBytes });
      opened.setAuthTag(sealed.subarray(plainBytes));
      const plain = opened.update(sealed.subarray(0, plainBytes));
      opened.final();
      return plain;
    } catch (cause) {
      throw new ConnectorError('PARCEL_DAMAGED', { chunk: index }, { cause });
    }
  }
}

/** The header ends with the line of its MAC, `--- ` and 43 characters. */
function headerLength(head: Buffer): number {
  const macLine = head.indexOf('\n--- ');
  const end = macLine < 0 ? -1 : head.indexOf('\n', macLine + 1);
  if (end < 0) throw new ConnectorError('PARCEL_NOT_AGE');
  return end + 1;
}

async function unwrap(header: Uint8Array, identities: readonly string[]): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  // Identities are tried in turn until one fits, so this one is asked only when none of ours did.
  let isForUs = true;
  decrypter.addIdentity({
    unwrapFileKey() {
      isForUs = false;
      return null;
    },
  });
  try {
    return await decrypter.decryptHeader(header);
  } catch (cause) {
    throw new ConnectorError(isForUs ? 'PARCEL_NOT_AGE' : 'PARCEL_NOT_FOR_US', {}, { cause });
  }
}

async function readAt(handle: FileHandle, path: string, into: Buffer, position: number): Promise<Buffer> {
  let filled = 0;
  try {
    while (filled < into.length) {
      const { bytesRead } = await handle.read(into, filled, into.length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (filled < into.length)
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: 'it shrank while it was read' });
  return into;
}

function unreadable(path: string, cause: unknown): ConnectorError {
  return new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
}
