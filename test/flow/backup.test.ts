import { appendFileSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { peekJws } from '../../agent/base/jws.ts';
import { backupDatabase, backUp, copyJournal } from '../../agent/flow/backup.ts';
import { believe, beginEpoch } from '../../agent/flow/epoch.ts';
import { copyBackup, recoverSiteKey, refuseOccupied, restoredDatabase, takeEffect } from '../../agent/flow/restore.ts';
import { settleVoid } from '../../agent/flow/settle.ts';
import { recover } from '../../agent/flow/recover.ts';
import { verifyBuffer } from '../../agent/flow/verify.ts';
import { breaches, Flow, newFolder, record } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
  flow.filed();
  flow.told('1');
  flow.told('2');
});
let folders: string[] = [];
afterEach(() => {
  flow.remove();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders = [];
});

function emptyFolder(): string {
  const folder = newFolder('backup');
  folders.push(folder);
  return folder;
}

const quiet = () => undefined;

function backup() {
  const places = {
    state: flow.folder,
    database: join(flow.folder, 'connector.sqlite'),
    to: join(flow.folder, 'backups'),
  };
  return backUp(flow.store, places, quiet);
}

/** The backup in an empty folder, with the same site key. */
async function restored(folder: string): Promise<Flow> {
  const state = emptyFolder();
  await copyBackup(folder, state, quiet);
  cpSync(join(flow.folder, 'site.key'), join(state, 'site.key'));
  const copy = new Flow({ folder: state, time: flow.time, database: restoredDatabase });
  beginEpoch(copy.store);
  copy.close();
  await takeEffect(state);
  return new Flow({ folder: state, time: flow.time });
}

const large = (patient: string) =>
  record({ patient, key: `HIS|large ${patient}`, body: Buffer.alloc(300 * 1024, patient) });

describe('a backup', () => {
  it('holds every payload, inline and spooled, as they were', async () => {
    await flow.offer(record({ patient: '1' }), large('2'));
    const { folder } = await backup();
    const copy = await restored(folder);
    const check = await verifyBuffer(copy.store, new AbortController().signal, quiet);
    expect(check).toMatchObject({ records: 2, damaged: [] });
    copy.remove();
  });

  it('brings a stop made after it into force', async () => {
    await flow.offer(record({ patient: '1' }), record({ patient: '2', key: 'HIS|2' }));
    const { folder } = await backup();
    await flow.stop('2');
    await copyJournal(flow.folder, folder);
    const copy = await restored(folder);
    expect((await recover(copy.store)).stops).toBe(1);
    believe(copy.store);
    const parcel = await copy.sealed();
    expect(parcel.records).toBe(1);
    copy.remove();
  });

  it('retracts for a stop made after it what may have been delivered after it', async () => {
    const [offered] = await flow.offer(record({ patient: '1' }));
    const { folder } = await backup();
    await flow.delivered();
    await flow.stop('1');
    await copyJournal(flow.folder, folder);
    flow.time.advanceDays(1);
    const copy = await restored(folder);
    await recover(copy.store);
    const [open] = copy.store.retractions.open(copy.producer().id);
    expect(copy.store.retractions.detail(open?.id ?? '').recordIds).toEqual([offered?.recordId]);
    expect(breaches(copy.store)).toEqual([]);
    copy.remove();
  });

  it('takes back what it had published, and packs it anew in an epoch that producers hear', async () => {
    const [offered] = await flow.offer(record({ patient: '1' }));
    const sealed = await flow.sealed();
    const { folder } = await backup();
    const copy = await restored(folder);
    expect(copy.parcel(sealed.id).state).toBe('voiding');
    await copy.finish(settleVoid(copy.store, copy.producer(), sealed.id, { atomic: true }));
    const parcel = await copy.packed();
    expect(await copy.publish(parcel)).toBe('paused');
    believe(copy.store);
    expect(await copy.publish(parcel)).toBe('published');
    expect(peekJws(String(copy.parcel(parcel).statement))).toMatchObject({ epoch: copy.store.epoch });
    expect(copy.store.epoch).toBeGreaterThan(flow.store.epoch);
    expect(copy.states(offered)).toEqual({ ldi: 'packed' });
    expect(breaches(copy.store)).toEqual([]);
    copy.remove();
  });

  it('has no database to start from while its epoch has not begun', async () => {
    const { folder } = await backup();
    const state = emptyFolder();
    await copyBackup(folder, state, quiet);
    expect(readdirSync(state)).not.toContain(backupDatabase);
    await takeEffect(state);
    expect(readdirSync(state)).toContain(backupDatabase);
  });

  it('goes nowhere where something is: not even a journal is overwritten', () => {
    const state = emptyFolder();
    refuseOccupied(state);
    writeFileSync(join(state, 'stops.journal'), 'newer stops');
    expect(() => refuseOccupied(state)).toThrow(expect.objectContaining({ code: 'ALREADY_EXISTS' }));
  });

  it('is refused whole when one byte of it was altered', async () => {
    await flow.offer(record({ patient: '1' }));
    const { folder } = await backup();
    appendFileSync(join(folder, 'connector.sqlite'), 'x');
    const state = emptyFolder();
    await expect(copyBackup(folder, state, quiet)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
  });

  it('is refused when it has no list', async () => {
    const empty = emptyFolder();
    await expect(copyBackup(empty, emptyFolder(), quiet)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
  });
});

describe('the recovery key', () => {
  it('gives the site key back, and no other key does', async () => {
    const identity = await generateX25519Identity();
    const encrypter = new Encrypter();
    encrypter.addRecipient(await identityToRecipient(identity));
    const file = join(flow.folder, 'recovery.age');
    writeFileSync(file, await encrypter.encrypt('the site key'));
    expect((await recoverSiteKey(file, `${identity}\n`)).toString()).toBe('the site key');
    const other = await generateX25519Identity();
    await expect(recoverSiteKey(file, other)).rejects.toMatchObject({ code: 'RECOVERY_KEY_WRONG' });
  });
});

describe('verifying the buffer', () => {
  it('names the row whose spooled payload was altered or is gone', async () => {
    const [altered, gone, whole] = [large('1'), large('2'), record({ patient: '1' })];
    const results = await flow.offer(altered, gone, whole);
    const rows = results.map(({ recordId }) => flow.store.records.byRid(Buffer.from(recordId, 'hex'))?.id);
    const paths = flow.store.db
      .prepare<[], { seal_id: Buffer }>('SELECT seal_id FROM record WHERE spool = 1 ORDER BY id')
      .all()
      .map(({ seal_id }) => flow.store.spool.path(seal_id));
    const bytes = readFileSync(String(paths[0]));
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(String(paths[0]), bytes);
    await flow.store.spool.remove([Buffer.from(String(paths[1]).split('/').at(-1) ?? '', 'hex')]);
    const check = await verifyBuffer(flow.store, new AbortController().signal, quiet);
    expect(check.damaged).toEqual([rows[0], rows[1]]);
  });
});
