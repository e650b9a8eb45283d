import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { cp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Decrypter } from 'age-encryption';
import { partialSuffix, syncFolder } from '../base/files.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { backupCopied, backupDatabase, backupList } from './backup.ts';

/** What a restored database is called until its epoch has begun: cut off before, nothing starts from it. */
export const restoredDatabase = `${backupDatabase}${partialSuffix}`;

/**
 * Compares every file of a backup with its list, then copies it into an empty state folder, the database as
 * `restoredDatabase`.
 *
 * @throws ConnectorError BACKUP_DAMAGED - a file is missing, altered or not listed; nothing was copied.
 */
export async function copyBackup(
  from: string,
  state: string,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const listed = await readList(from);
  for (const [index, { digest, name }] of listed.entries()) {
    const found = await digestOf(join(from, name));
    // Stops made after the backup are brought to its journal, so that one file may have grown.
    if (found !== digest && name !== 'stops.journal') throw damaged(name);
    progress(index + 1, listed.length);
  }
  for (const name of backupCopied) {
    // The journal is taken as it is: the first stop may have been made after the backup.
    if (!existsSync(join(from, name))) continue;
    await cp(join(from, name), join(state, name), { recursive: true, errorOnExist: true, force: false });
  }
  await cp(join(from, backupDatabase), join(state, restoredDatabase));
  await syncFolder(state);
}

/**
 * What is in the state folder may be worth more than the backup: a lost database leaves a journal of newer stops.
 *
 * @throws ConnectorError ALREADY_EXISTS
 */
export function refuseOccupied(state: string): void {
  const taken = [backupDatabase, ...backupCopied].map((name) => join(state, name)).find((path) => existsSync(path));
  if (taken !== undefined) throw new ConnectorError('ALREADY_EXISTS', { path: taken });
}

/** The restored copy becomes the state. Its epoch has begun, and its database is closed. */
export async function takeEffect(state: string): Promise<void> {
  await rename(join(state, restoredDatabase), join(state, backupDatabase));
  await syncFolder(state);
}

async function readList(from: string): Promise<{ digest: string; name: string }[]> {
  let text: string;
  try {
    text = await readFile(join(from, backupList), 'utf8');
  } catch (cause) {
    throw new ConnectorError('BACKUP_DAMAGED', { file: backupList, reason: reasonOf(cause) }, { cause });
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, digest, name] = /^([0-9a-f]{64}) {2}([\w./-]+)$/.exec(line) ?? [];
      if (digest === undefined || name === undefined || name.includes('..')) throw damaged(backupList);
      return { digest, name };
    });
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  } catch (cause) {
    throw new ConnectorError('BACKUP_DAMAGED', { file: path, reason: reasonOf(cause) }, { cause });
  }
  return hash.digest('hex');
}

function damaged(file: string): ConnectorError {
  return new ConnectorError('BACKUP_DAMAGED', { file, reason: 'its digest is another one' });
}

/**
 * The site key out of `recovery.age`, with the recovery key that was printed at `init`.
 *
 * @throws ConnectorError RECOVERY_KEY_WRONG
 */
export async function recoverSiteKey(recoveryFile: string, identity: string): Promise<Buffer> {
  try {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity.trim());
    return Buffer.from(await decrypter.decrypt(await readFile(recoveryFile)));
  } catch (cause) {
    // The library's message may repeat the key; only the fact is passed on.
    throw new ConnectorError('RECOVERY_KEY_WRONG', { reason: reasonOf(cause) });
  }
}

/** Takes a half-made restore away again, so that it can be tried anew. */
export async function removeRestored(state: string): Promise<void> {
  const databases = [backupDatabase, restoredDatabase].flatMap((name) => [name, `${name}-wal`, `${name}-shm`]);
  for (const name of [...databases, ...backupCopied]) {
    await rm(join(state, name), { recursive: true, force: true });
  }
}
