import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { isoJst } from '../base/clock.ts';
import { partialSuffix, syncFolder, writeDurable } from '../base/files.ts';
import { reasonOf } from '../model/errors.ts';
import type { Store } from './store.ts';

export interface BackupPlaces {
  readonly state: string;
  readonly database: string;
  /** Folder in which the backup's own folder is made. */
  readonly to: string;
}

export interface BackupResult {
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
}

export const backupDatabase = 'connector.sqlite';
export const backupList = 'backup-sha256.txt';
/** Beside the database: all that a new machine needs, but for the key to open it. */
export const backupCopied = ['spool', 'parcels', 'stops.journal', 'recovery.age'] as const;

/**
 * A whole copy of the state while the connector runs: first the database (its own online copy, consistent in itself),
 * then the sealed files it names. A payload delivered and destroyed in between is missing from the copy, and the
 * receipt that destroyed it is fetched again after a restore. Everything is sealed as it was; the site key is not in
 * it, except encrypted to the hospital's recovery key.
 */
export async function backUp(
  store: Store,
  { state, to }: BackupPlaces,
  progress: (done: number, total: number) => void,
): Promise<BackupResult> {
  const folder = join(to, `kakehashi-${isoJst(store.time.now()).replaceAll(/[:.]/g, '-').slice(0, 19)}`);
  const partial = `${folder}${partialSuffix}`;
  await mkdir(partial, { recursive: true, mode: 0o700 });
  await store.db.backup(join(partial, backupDatabase));
  for (const name of backupCopied) await copyAll(join(state, name), join(partial, name));
  const files = await listFiles(partial);
  const lines: string[] = [];
  let bytes = 0;
  for (const [index, path] of files.entries()) {
    const { digest, size } = await syncAndHash(path);
    bytes += size;
    lines.push(`${digest}  ${relative(partial, path)}\n`);
    progress(index + 1, files.length);
  }
  await writeDurable(join(partial, backupList), Buffer.from(lines.join('')));
  await rename(partial, folder);
  await syncFolder(to);
  store.ledger.append('backup', store.time.now(), { files: files.length, bytes });
  return { folder, files: files.length, bytes };
}

/** Brings the newest stops to the last backup, so that restoring it knows of them. */
export async function copyJournal(state: string, backupFolder: string): Promise<void> {
  const target = join(backupFolder, 'stops.journal');
  const fresh = `${target}${partialSuffix}`;
  await copyFile(join(state, 'stops.journal'), fresh);
  await syncAndHash(fresh);
  await rename(fresh, target);
  await syncFolder(dirname(target));
}

/** Copies every file there is. One that was delivered while its folder was being copied is left out, and no other. */
async function copyAll(from: string, to: string): Promise<void> {
  for (const path of await listFiles(from)) {
    if (path.endsWith(partialSuffix)) continue;
    const target = join(to, relative(from, path));
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await orMissing(copyFile(path, target));
  }
}

/** What is at or below a path, files only; nothing when it is not there. */
async function listFiles(path: string): Promise<string[]> {
  const found = await orMissing(stat(path));
  if (!found?.isDirectory()) return found ? [path] : [];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (reasonOf(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

async function syncAndHash(path: string): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  const file = await open(path, 'r+');
  await file.sync();
  await file.close();
  return { digest: hash.digest('hex'), size };
}
