import { createHash, hash as digest } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { partialSuffix, readAhead, syncFolder } from '../base/files.ts';
import type { KeyRing } from '../base/keys.ts';
import {
  FrameSealer,
  frameBytes,
  newSealKey,
  newSealMemory,
  openStream,
  type SealKey,
  type SealMemory,
} from '../base/seal.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Payload } from '../model/record.ts';
import { onDisk } from './buffer-error.ts';
import { SpoolFile } from './spool-file.ts';

/**
 * Above this a payload becomes a file of its own. Measured: at 256 KiB both ways store as many objects a second, below
 * it the database wins (310 against 72 at 64 KiB), above it the file does.
 */
export const inlineBytesMax = 256 * 1024;

/** One for each value of the first byte of a name. */
const folderCount = 256;

/** Memory for sealing that is kept for the next payload: 6 MiB. Beyond it, payloads that come together make their own. */
const idleMemoryMax = 2;

/** A payload that has its key and, when it is a file, is sealed and durable; its row is not yet written. */
export interface Staged {
  readonly seal: SealKey;
  readonly wrappedKey: Buffer;
  /** The body, to be sealed with its facts into the row; null when it is in the spool file named by the seal id. */
  readonly inline: Uint8Array | null;
  /** Hex SHA-256 and length of the body alone: the record's identity. */
  readonly sha256: string;
  readonly bodyBytes: number;
  readonly prefix: Uint8Array | undefined;
}

/** Sealed payloads on disk, one file each, spread over 256 folders by the first byte of a random name. */
export class Spool {
  readonly #folder: string;
  readonly #keys: KeyRing;
  readonly #limitBytes: number;
  readonly #idleMemory: SealMemory[] = [];

  constructor(folder: string, keys: KeyRing, limitBytes: number) {
    this.#folder = folder;
    this.#keys = keys;
    this.#limitBytes = limitBytes;
  }

  /**
   * Stages a payload. When it resolves, a spooled one is sealed and durable (file synced, renamed, folder synced) and an
   * inline one is in memory, waiting for its row.
   *
   * @throws ConnectorError RECORD_TOO_LARGE, BUFFER_FULL, BUFFER_FAILED; whatever the stream throws. Nothing is left behind.
   */
  async stage({ prefix, body }: Payload): Promise<Staged> {
    if (body instanceof Uint8Array) {
      if (body.length > this.#limitBytes) throw this.#tooLarge();
      if (body.length <= inlineBytesMax) return this.stageInline(body, prefix);
      return this.#stageFile(oneChunk(body), prefix);
    }
    return this.#stageFile(body, prefix);
  }

  /** The short way for what is small and in memory already. */
  stageInline(body: Uint8Array, prefix?: Uint8Array): Staged {
    const seal = newSealKey();
    return {
      seal,
      wrappedKey: this.#keys.wrap(seal.key, seal.sealId),
      inline: body,
      sha256: digest('sha256', body, 'hex'),
      bodyBytes: body.length,
      prefix,
    };
  }

  async #stageFile(body: AsyncIterable<Uint8Array>, prefix: Uint8Array | undefined): Promise<Staged> {
    const seal = newSealKey();
    const file = await onDisk(SpoolFile.create(this.path(seal.sealId)));
    const memory = this.#idleMemory.pop() ?? newSealMemory();
    try {
      const identity = await this.#seal(body, new FrameSealer(seal, memory), file);
      await onDisk(file.commit());
      const wrappedKey = this.#keys.wrap(seal.key, seal.sealId);
      return { seal, wrappedKey, inline: null, ...identity, prefix };
    } catch (error) {
      await file.abandon();
      throw error;
    } finally {
      // Not before the last write has ended: the disk still reads from it.
      if (this.#idleMemory.length < idleMemoryMax) this.#idleMemory.push(memory);
    }
  }

  async #seal(body: AsyncIterable<Uint8Array>, sealer: FrameSealer, file: SpoolFile) {
    const hash = createHash('sha256');
    let bodyBytes = 0;
    for await (const chunk of body) {
      bodyBytes += chunk.length;
      if (bodyBytes > this.#limitBytes) throw this.#tooLarge();
      hash.update(chunk);
      for (const frame of sealer.push(chunk)) await onDisk(file.write(frame));
    }
    await onDisk(file.write(sealer.end()));
    return { sha256: hash.digest('hex'), bodyBytes };
  }

  /** The opened body of a spooled payload. @throws ConnectorError SEAL_BROKEN */
  open(seal: SealKey): AsyncGenerator<Buffer> {
    return openStream(seal, readAhead(this.path(seal.sealId), { pieceBytes: frameBytes }));
  }

  async remove(sealIds: readonly Uint8Array[]): Promise<void> {
    for (const sealId of sealIds) await rm(this.path(sealId), { force: true });
  }

  /**
   * At start: removes half-written files and those whose row was never committed or no longer needs them.
   * Returns how many. Folders are made and listed synchronously: nothing is served yet, and 256 turns of the thread pool
   * take longer than all of them.
   */
  async removeOrphans(isNeeded: (sealId: Buffer) => boolean): Promise<number> {
    await this.#makeFolders();
    let removed = 0;
    for (const folder of this.#folders()) {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const { name } = entry;
        const isKept = !name.endsWith(partialSuffix) && isNeeded(Buffer.from(name, 'hex'));
        // Somebody else's folder is not ours to remove, and no reason not to start.
        if (!entry.isFile() || isKept) continue;
        await rm(join(folder, name), { force: true });
        removed++;
      }
    }
    return removed;
  }

  /** All at once, and once: making one under an image that waits would cost that image a sync more. */
  async #makeFolders(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const missing = this.#folders().filter((folder) => !existsSync(folder));
    for (const folder of missing) mkdirSync(folder, { mode: 0o700 });
    if (missing.length > 0) await syncFolder(this.#folder);
  }

  #folders(): string[] {
    return Array.from({ length: folderCount }, (_, first) => dirname(this.path(Uint8Array.of(first))));
  }

  path(sealId: Uint8Array): string {
    const name = Buffer.from(sealId).toString('hex');
    return join(this.#folder, name.slice(0, 2), name);
  }

  #tooLarge(): ConnectorError {
    return new ConnectorError('RECORD_TOO_LARGE', { limitBytes: this.#limitBytes });
  }
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
