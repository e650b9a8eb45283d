import { createReadStream } from 'node:fs';
import { constants, type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { freeSpace, syncFolder, writeDurable } from '../../agent/base/files.ts';
import type { Appender, ParcelName, ParcelStore } from './store.ts';

/** Read at once where a parcel is hashed again. */
const readBytes = 1024 * 1024;

/**
 * Written bytes that are not yet on their way to the disk, at most. The end of a part waits until it is durable, and a
 * hospital waits with it: with 16 MiB, sixteen times in a gigabyte, that was a tenth of the time.
 */
const syncEveryBytes = 4 * 1024 * 1024;

/**
 * Parcels as files:
 *
 * ```
 * incoming/AGENT/PARCEL        still arriving; its end is where the database says, not where the file ends
 * parcels/AGENT/PARCEL.age     whole, hashed, durable
 * parcels/AGENT/PARCEL.jws     its statement, for whoever opens it elsewhere
 * ```
 */
export class FileStore implements ParcelStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async append(name: ParcelName, offset: number): Promise<Appender> {
    const path = this.#incoming(name);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(this.locate(name), path).catch(ignoreMissing);
    // Not `wx`: that the id is new was decided by the database's primary key, and an orphan of a crash is overwritten.
    const flags = offset === 0 ? constants.O_RDWR | constants.O_CREAT : constants.O_RDWR;
    const handle = await open(path, flags, 0o600).catch(ignoreMissing);
    if (!handle) return lostAppender;
    return FileAppender.start(handle, path, offset);
  }

  read(name: ParcelName, bytes: number): AsyncIterable<Uint8Array> {
    if (bytes === 0) return empty();
    return createReadStream(this.#incoming(name), { end: bytes - 1, highWaterMark: readBytes });
  }

  async publish(name: ParcelName, statement: string): Promise<void> {
    const path = this.locate(name);
    await writeDurable(statementPath(path), Buffer.from(statement));
    await rename(this.#incoming(name), path);
    await syncFolder(dirname(path));
  }

  locate({ agent, parcelId }: ParcelName): string {
    return join(this.#root, 'parcels', agent, `${parcelId}.age`);
  }

  async remove(name: ParcelName): Promise<void> {
    const published = this.locate(name);
    for (const path of [this.#incoming(name), published, statementPath(published)]) await rm(path, { force: true });
  }

  async freeBytes(): Promise<number> {
    return (await freeSpace(this.#root)).freeBytes;
  }

  #incoming({ agent, parcelId }: ParcelName): string {
    return join(this.#root, 'incoming', agent, parcelId);
  }
}

/** The statement lies beside its parcel: `X.age`, `X.jws`. */
export function statementPath(parcel: string): string {
  return parcel.replace(/\.age$/, '.jws');
}

/** Sends what it has written on its way to the disk while the next pieces arrive, one sync at a time. */
class FileAppender implements Appender {
  readonly offset: number;
  readonly #handle: FileHandle;
  readonly #path: string;
  #position: number;
  #syncedTo: number;
  /** Never rejects. */
  #syncing: Promise<void> | undefined;
  #failure: { readonly cause: unknown } | undefined;
  #isNamed: boolean;
  #isClosed = false;

  private constructor(handle: FileHandle, path: string, offset: number) {
    this.#handle = handle;
    this.#path = path;
    this.offset = offset;
    this.#position = offset;
    this.#syncedTo = offset;
    this.#isNamed = offset > 0;
  }

  static async start(handle: FileHandle, path: string, offset: number): Promise<FileAppender> {
    const { size } = await handle.stat();
    const from = size < offset ? 0 : offset;
    if (size !== from) await handle.truncate(from);
    return new FileAppender(handle, path, from);
  }

  async write(piece: Uint8Array): Promise<void> {
    for (let offset = 0; offset < piece.length; ) {
      const { bytesWritten } = await this.#handle.write(piece, offset, piece.length - offset, this.#position);
      this.#position += bytesWritten;
      offset += bytesWritten;
    }
    this.#throwFailure();
    if (this.#position - this.#syncedTo >= syncEveryBytes) this.#syncing ??= this.#syncAhead();
  }

  async sync(): Promise<void> {
    await this.#syncing;
    this.#throwFailure();
    await this.#handle.datasync();
    if (this.#isNamed) return;
    // A new file's name is in the folder, which has a life of its own on the disk.
    await syncFolder(dirname(this.#path));
    this.#isNamed = true;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#syncing;
    await this.#handle.close();
  }

  /** The failure of a sync is told once by the kernel, and then must not be forgotten. */
  async #syncAhead(): Promise<void> {
    this.#syncedTo = this.#position;
    try {
      await this.#handle.datasync();
    } catch (cause) {
      this.#failure ??= { cause };
    }
    this.#syncing = undefined;
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.cause;
  }
}

/** Answers for a file that is gone although the database remembers bytes of it: begin again. */
const lostAppender: Appender = {
  offset: 0,
  write: () => Promise.resolve(),
  sync: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

async function* empty(): AsyncGenerator<Uint8Array> {}
