/** A machine is lost; its backup of this morning runs on another one. Nobody's stop is forgotten, nothing is doubled. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import { daysAgo, Hospital } from '../peers/hospital/hospital.ts';
import { hl7, person } from '../peers/hospital/messages.ts';
import { mains } from '../peers/hospital/process.ts';

const staying = person('0000012345');
const leaving = person('0000054321');

/** Before the backup: delivered, waiting, and of somebody who will say stop. After it: delivered, and the stop. */
const sent = {
  delivered: hl7({ controlId: 'BAK-1', person: staying }),
  waiting: hl7({ controlId: 'BAK-2', person: staying, reportChars: 400_000 }),
  ofLeaving: hl7({ controlId: 'BAK-3', person: leaving, reportChars: 400_000 }),
  afterwards: hl7({ controlId: 'BAK-4', person: staying }),
};

describe('a backup made while the agent runs', () => {
  let hospital: Hospital;
  let backup: string;
  let lostState: string;

  beforeAll(async () => {
    hospital = await Hospital.open([staying.id, leaving.id]);
    await hospital.send([sent.delivered]);
    await hospital.ship();
    await hospital.send([sent.waiting, sent.ofLeaving]);
    const to = join(hospital.folder, 'backups');
    await mkdir(to);
    const made = await hospital.cli('backup', '--to', to, '--json');
    expect(made).toMatchObject({ code: 0 });
    backup = (JSON.parse(made.stdout) as { folder: string }).folder;
    expect((await hospital.cli('register', 'stop', '--patient', leaving.id)).code).toBe(0);
    await hospital.send([sent.afterwards]);
    await hospital.ship();
    await hospital.agent.kill();
    // The lost machine, which will come back to life.
    lostState = `${hospital.state}.lost`;
    await rename(hospital.state, lostState);
  });
  afterAll(() => hospital.close());

  async function emptyState(): Promise<void> {
    await rm(hospital.state, { recursive: true, force: true });
    await mkdir(hospital.state, { mode: 0o700 });
  }

  it('is refused when a file in it was altered, and the state stays empty', async () => {
    await emptyState();
    const damaged = `${backup}.damaged`;
    await cp(backup, damaged, { recursive: true });
    const database = join(damaged, 'connector.sqlite');
    const bytes = await readFile(database);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(database, bytes);
    const { code, stderr } = await hospital.cli('restore', '--from', damaged);
    expect({ code, isTold: stderr.includes('BACKUP_DAMAGED') }).toEqual({ code: 1, isTold: true });
    expect((await readdir(hospital.state)).filter((name) => /connector|spool|parcels/.test(name))).toEqual([]);
  });

  it('is restored whole or not at all when the command is told to stop', async () => {
    for (const moment of [100, 400, 700, 1000]) {
      await emptyState();
      const command = ['restore', '--config', hospital.configFile, '--from', backup];
      const child = spawn(process.execPath, [mains.agent, ...command], { stdio: 'ignore' });
      const ended = once(child, 'close') as Promise<[number | null, string | null]>;
      await systemClock.sleep(moment);
      child.kill('SIGTERM');
      const [code, signal] = await ended;
      const isThere = (await readdir(hospital.state)).includes('connector.sqlite');
      // Once it has begun it comes to its end; before that the signal ends it.
      expect([
        { code: 0, signal: null, isThere: true },
        { code: null, signal: 'SIGTERM', isThere: false },
      ]).toContainEqual({ code, signal, isThere });
    }
  });

  it('is restored with the recovery key when the site key is lost as well; another key does not open it', async () => {
    await emptyState();
    const printed = join(hospital.folder, 'recovery.txt');
    const kept = `${hospital.siteKeyFile}.kept`;
    await rename(hospital.siteKeyFile, kept);
    const other = await Hospital.create();
    await writeFile(printed, other.recoveryKey, { mode: 0o600 });
    await other.close();
    const wrong = await hospital.cli('restore', '--from', backup, '--recovery-key', printed);
    expect({ code: wrong.code, isTold: wrong.stderr.includes('RECOVERY_KEY_WRONG') }).toEqual({
      code: 1,
      isTold: true,
    });
    await writeFile(printed, `${hospital.recoveryKey}\n`, { mode: 0o600 });
    expect(await hospital.cli('restore', '--from', backup, '--recovery-key', printed)).toMatchObject({ code: 0 });
    expect(await readFile(hospital.siteKeyFile)).toEqual(await readFile(kept));
    const verified = await hospital.cli('buffer', 'verify', '--json');
    // Of the two that waited, the one of the patient who said stop after the backup is destroyed.
    expect(JSON.parse(verified.stdout)).toMatchObject({ records: 1, damaged: [] });
    expect(hospital.said).not.toContain(hospital.recoveryKey);
  });

  it('is told from a damaged one by buffer verify', async () => {
    const [spooled = ''] = await hospital.stateFiles('spool');
    const whole = await readFile(spooled);
    const altered = Buffer.from(whole);
    altered[1000] = (altered[1000] ?? 0) ^ 1;
    await writeFile(spooled, altered);
    const { code, stderr } = await hospital.cli('buffer', 'verify');
    expect({ code, isTold: stderr.includes('BUFFER_DAMAGED') }).toEqual({ code: 1, isTold: true });
    await writeFile(spooled, whole);
  });

  it('goes into an empty folder only', async () => {
    const { code, stderr } = await hospital.cli('restore', '--from', backup);
    expect({ code, isTold: stderr.includes('ALREADY_EXISTS') }).toEqual({ code: 1, isTold: true });
  });

  it('begins a new epoch, in which the stop made after the backup is in force', async () => {
    await emptyState();
    const restored = await hospital.cli('restore', '--from', backup, '--json');
    expect(JSON.parse(restored.stdout)).toMatchObject({ epoch: expect.any(Number), stops: 1 });
    await hospital.startAgent();
    const shown = await hospital.ask<{ patient: { stops: { inForce: boolean }[] } }>('register.show', {
      patient: leaving.id,
    });
    expect(shown.patient.stops).toEqual([expect.objectContaining({ inForce: true })]);
    const again = hl7({ controlId: 'BAK-5', person: leaving });
    expect(await hospital.send([again])).toEqual([{ code: 'AA', controlId: 'BAK-5' }]);
    expect((await hospital.status()).deliveries.refused).toBeGreaterThan(0);
  });

  it('ships nothing until somebody says that it is to be believed', async () => {
    await hospital.untilTrusted();
    const before = await hospital.opened();
    expect(await hospital.ship()).toMatchObject({ records: 0, pausedBy: 'restored' });
    expect((await hospital.status()).deliveries.ready).toBe(1);
    expect(await hospital.opened()).toEqual(before);
  });

  it('then brings what it has, and every record the hospital sends again, under the ids it had', async () => {
    expect((await hospital.cli('resume')).code).toBe(0);
    // What came after the backup is sent again by the hospital's system, and so is what had been delivered before.
    await hospital.send([sent.delivered, sent.waiting, sent.afterwards, sent.ofLeaving]);
    while ((await hospital.status()).deliveries.ready > 0) await hospital.ship();
    await hospital.until(({ deliveries }) => deliveries.packed + deliveries.stored === 0);
    const opened = await hospital.opened();
    const idsOf = new Map<string, Set<string>>();
    for (const { sha256, recordId } of opened) idsOf.set(sha256, (idsOf.get(sha256) ?? new Set()).add(recordId));
    const { delivered, waiting, afterwards } = sent;
    expect([...idsOf.keys()].toSorted()).toEqual(
      [delivered, waiting, afterwards].map(({ sha256 }) => sha256).toSorted(),
    );
    for (const ids of idsOf.values()) expect(ids.size).toBe(1);
    expect(await hospital.ask('ledger.verify')).toMatchObject({ ok: true });
  });

  it('makes the producer refuse the machine that was lost, should it come back', async () => {
    await hospital.agent.stop();
    const restored = `${hospital.state}.restored`;
    await rename(hospital.state, restored);
    await rename(lostState, hospital.state);
    const before = await hospital.opened();
    await hospital.startAgent();
    await hospital.until(({ producers }) => producers[0]?.code === 'EPOCH_OLD');
    await hospital.send([hl7({ controlId: 'CLONE-1', person: staying })]);
    await expect(hospital.ship()).rejects.toMatchObject({ code: 'EPOCH_OLD' });
    expect(await hospital.opened()).toEqual(before);
    expect((await hospital.status()).state).toBe('attention');
    await hospital.agent.stop();
    await rename(hospital.state, lostState);
    await rename(restored, hospital.state);
  });

  it('may also be believed because of a register that was made after the restore', async () => {
    await emptyState();
    expect((await hospital.cli('restore', '--from', backup)).code).toBe(0);
    await hospital.startAgent();
    // A third epoch would be needed to ship: the producer has seen the second.
    const file = join(hospital.folder, 'fresh.csv');
    const header = 'patient_id,basis,notice,notified_on,stopped_on,as_of';
    const rows = [staying, leaving].map(
      ({ id }) => `${id},article-57,2025-01,${daysAgo(90)},,${isoJst(systemClock.now())}`,
    );
    await writeFile(file, `${[header, ...rows].join('\n')}\n`);
    expect((await hospital.cli('register', 'import', file)).code).toBe(0);
    await hospital.untilTrusted();
    expect(await hospital.ship()).not.toMatchObject({ pausedBy: 'restored' });
  });
});
