import { type FileHandle, mkdir, open, readdir, rename, rm, statfs, unlink } from 'node:fs/promises';
import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { randomBytes } from 'node:crypto';

/** Names of files still being written. Whatever bears it after a start is an orphan and is removed. */
export const partialSuffix = '.part';

/**
 * A large file goes to the disk while it is written. Two gigabytes of dirty pages at its end would hold up every other
 * sync of the file system for as long, and with it the acknowledgement of a lab result.
 */
export const syncEveryBytes = 16 * 1024 * 1024;

/**
 * A file that exists whole or not at all: written beside its place, `fdatasync`, `rename`, `fsync` of the folder.
 * Writes go through the thread pool, so a slow disk does not hold up the event loop.
 */
export class DurableFile {
  readonly #handle: FileHandle;
  readonly #partial: string;
  readonly #path: string;
  #bytes = 0;
  #syncedBytes = 0;
  #syncing: Promise<void> = Promise.resolve();

  private constructor(handle: FileHandle, partial: string, path: string) {
    this.#handle = handle;
    this.#partial = partial;
    this.#path = path;
  }

  static async create(path: string): Promise<DurableFile> {
    await makeFolder(dirname(path));
    const partial = `${path}.${randomBytes(4).toString('hex')}${partialSuffix}`;
    return new DurableFile(await open(partial, 'wx', 0o600), partial, path);
  }

  get bytes(): number {
    return this.#bytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    let offset = 0;
    while (offset < chunk.length) {
      const { bytesWritten } = await this.#handle.write(chunk, offset, chunk.length - offset, null);
      offset += bytesWritten;
    }
    this.#bytes += chunk.length;
    if (this.#bytes - this.#syncedBytes >= syncEveryBytes) await this.#syncAhead();
  }

  /** Sends what was written on its way to the disk; waits only for the time before, so that two such pieces wait at most. */
  async #syncAhead(): Promise<void> {
    this.#syncedBytes = this.#bytes;
    await this.#syncing;
    this.#syncing = this.#handle.datasync();
    // Whoever writes, commits or abandons next is told; until then nobody listens.
    this.#syncing.catch(ignoreUntilAwaited);
  }

  /** After it resolves the file survives a power cut. */
  async commit(): Promise<void> {
    await this.#syncing;
    await this.#handle.datasync();
    await this.#handle.close();
    await rename(this.#partial, this.#path);
    await syncFolder(dirname(this.#path));
  }

  /** Removes what was written so far. Harmless after `commit`. */
  async abandon(): Promise<void> {
    await this.#handle.close().catch(ignoreClosed);
    await rm(this.#partial, { force: true });
  }
}

function ignoreUntilAwaited(): void {
  // The same promise is awaited later, and then throws.
}

function ignoreClosed(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'EBADF')) throw error;
}

/** A folder whose own name survives a power cut: a file's fsync does not reach the folders made for it. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const top = dirname(resolve(first));
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    await syncFolder(folder);
    if (folder === top || folder === dirname(folder)) return;
  }
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export async function writeDurable(path: string, bytes: Uint8Array): Promise<void> {
  const file = await DurableFile.create(path);
  try {
    await file.write(bytes);
    await file.commit();
  } catch (error) {
    await file.abandon();
    throw error;
  }
}

/** The same for the few small files written where nothing may be awaited. */
export function writeDurableSync(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const partial = `${path}.${randomBytes(4).toString('hex')}${partialSuffix}`;
  try {
    writeWholeSync(partial, bytes);
    renameSync(partial, path);
  } catch (error) {
    // A full disk must not be filled further by the halves it refused.
    rmSync(partial, { force: true });
    throw error;
  }
  syncFolderSync(dirname(path));
}

function writeWholeSync(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    for (let offset = 0; offset < bytes.length; ) offset += writeSync(fd, bytes, offset);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function syncFolderSync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Removes the files a crash left half-written below `folder`, one level deep or two. Returns how many. */
export async function removePartials(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const partials = entries.filter((entry) => entry.isFile() && entry.name.endsWith(partialSuffix));
  for (const entry of partials) await unlink(join(entry.parentPath, entry.name));
  return partials.length;
}

/**
 * A file, or a range of it, in pieces, the next of which is read while one is worked on; a piece is overwritten after the
 * next one was asked for. Two buffers in turn: with new ones, as a stream of Node's makes them, an image leaves 64 MB of
 * them behind before the collector looks.
 */
export async function* readAhead(
  path: string,
  { pieceBytes, start = 0, end = Number.POSITIVE_INFINITY }: { pieceBytes: number; start?: number; end?: number },
): AsyncGenerator<Uint8Array> {
  const file = await open(path);
  try {
    let [next, after] = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)];
    const read = (at: number) => file.read(next, 0, Math.min(pieceBytes, end - at), at);
    let reading = read(start);
    for (let at = start; ; ) {
      const { bytesRead, buffer } = await reading;
      if (bytesRead === 0) return;
      at += bytesRead;
      [next, after] = [after, next];
      reading = read(at);
      // Whoever asks for the next piece is told; one that is never asked for is of no interest.
      reading.catch(ignoreUntilAwaited);
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

export async function freeSpace(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}
