import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder, partialSuffix, syncEveryBytes, syncFolder } from '../base/files.ts';

/**
 * A payload on its way to the disk: written beside its place, `fdatasync`, `rename`, `fsync` of the folder. What takes
 * time goes on beside the sender's sending: a frame is written while the next one is filled.
 */
export class SpoolFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  /** The write and the sync-ahead under way; each is awaited by whoever comes next. */
  #writing: Promise<void> = Promise.resolve();
  #syncing: Promise<void> = Promise.resolve();
  #unsyncedBytes = 0;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  static async create(path: string): Promise<SpoolFile> {
    return new SpoolFile(await openNew(`${path}${partialSuffix}`), path);
  }

  /** Begins a write when the one before has ended. The bytes must stay as they are until the next one has begun. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.#writing;
    if (this.#unsyncedBytes >= syncEveryBytes) await this.#syncAhead();
    this.#unsyncedBytes += bytes.length;
    this.#writing = watched(writeWhole(this.#handle, bytes));
  }

  /** See `syncEveryBytes`; waits only for the time before, so that two such pieces wait at most. */
  async #syncAhead(): Promise<void> {
    this.#unsyncedBytes = 0;
    await this.#syncing;
    this.#syncing = watched(this.#handle.datasync());
  }

  /** After it resolves the file survives a power cut, and so does its name. */
  async commit(): Promise<void> {
    await this.#writing;
    await this.#syncing;
    await this.#handle.datasync();
    await rename(`${this.#path}${partialSuffix}`, this.#path);
    await syncFolder(dirname(this.#path));
    // The sender need not wait for this one; all that was written is on the disk.
    void watched(this.#handle.close());
  }

  /** Removes what was written so far, also when `commit` has failed. Not after it has succeeded. */
  async abandon(): Promise<void> {
    await Promise.allSettled([this.#writing, this.#syncing]);
    await this.#handle.close();
    for (const path of [`${this.#path}${partialSuffix}`, this.#path]) await rm(path, { force: true });
  }
}

/** The folders are made at the start; one that is missing all the same is made now, and lasts before the file does. */
async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    await makeFolder(dirname(path));
    return open(path, 'wx', 0o600);
  }
}

async function writeWhole(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, offset, bytes.length - offset, null);
    offset += bytesWritten;
  }
}

/** The promise itself, whose failure nobody may hear before it is awaited later. */
function watched(work: Promise<void>): Promise<void> {
  work.catch(() => undefined);
  return work;
}
