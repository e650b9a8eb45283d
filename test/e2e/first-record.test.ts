/** The README's way, with the real processes: from `init` to a record of provision for what was sent. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deliveryStates } from '../../agent/buffer/deliveries.ts';
import type { Status } from '../../agent/health/index.ts';
import type { Charset } from '../../agent/base/hl7/charset.ts';
import { daysAgo, facility, Hospital, producerName, source } from '../peers/hospital/hospital.ts';
import { hl7, person } from '../peers/hospital/messages.ts';

const charsets = ['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const satisfies readonly Charset[];
const messages = charsets.map((charset, index) => {
  return hl7({ controlId: `E2E-${index + 1}`, person: person('0000012345'), charset });
});
const digests = messages.map(({ sha256 }) => sha256).toSorted();

describe('the first record', () => {
  let hospital: Hospital;
  const reached: Record<string, { code: number; stdout: string; stderr: string }> = {};

  beforeAll(async () => {
    hospital = await Hospital.create();
    await hospital.startProducer();
    await hospital.writeConfig();
    const step = async (name: string, verb: string, ...args: string[]) => {
      reached[name] = await hospital.cli(verb, ...args);
    };
    await step('check', 'check');
    await hospital.startAgent();
    const items = ['--basis', 'article-57', '--categories', 'demographics,lab-result', '--from', daysAgo(400)];
    await step('notice', 'register', 'notice', '--version', '2025-01', ...items);
    await step('filing', 'register', 'filing', '--producer', producerName, ...items);
    const csv = join(hospital.folder, 'notified.csv');
    const row = `0000012345,article-57,2025-01,${daysAgo(90)},,${daysAgo(0)}`;
    await writeFile(csv, `patient_id,basis,notice,notified_on,stopped_on,as_of\n${row}\n`);
    await step('import', 'register', 'import', csv);
    const files: string[] = [];
    for (const { controlId, bytes } of messages) {
      files.push(join(hospital.folder, `${controlId}.hl7`));
      await writeFile(files.at(-1) ?? '', bytes);
    }
    reached['send'] = await hospital.command('agent', ['send', ...files, '--to', `127.0.0.1:${hospital.port}`]);
    await step('ship', 'ship', '--json');
    await step('status', 'status', '--json');
    await step('verify', 'ledger', 'verify', '--json');
    await step('export', 'ledger', 'export', join(hospital.folder, 'provision.csv'), '--provision');
    await step('live', 'check', '--live', '--json');
  });
  afterAll(() => hospital.close());

  it('takes no step that fails', () => {
    const failed = Object.entries(reached).filter(([, { code }]) => code !== 0);
    expect(failed).toEqual([]);
  });

  it('is acknowledged AA in each of the four encodings', () => {
    for (const { controlId } of messages) expect(reached['send']?.stdout).toContain(`AA  ${controlId}`);
  });

  it('is answered with a verified `opened` receipt', async () => {
    const tally = JSON.parse(reached['ship']?.stdout ?? '') as Record<string, object>;
    expect(tally[producerName]).toMatchObject({ parcels: 1, records: 4, stored: 1, opened: 1, rejected: 0 });
    expect(await hospital.openedDigests()).toEqual(digests);
  });

  it('leaves nothing of itself behind in the hospital', async () => {
    expect(await hospital.stateFiles('spool')).toEqual([]);
    expect(await hospital.stateFiles('parcels')).toEqual([]);
  });

  it('comes out of `open` byte for byte as it was sent', async () => {
    const folder = join(hospital.data, 'parcels', facility);
    const parcels = (await readdir(folder)).filter((name) => name.endsWith('.age')).map((name) => join(folder, name));
    const out = join(hospital.folder, 'opened');
    const { code } = await hospital.command('producer', [
      'open',
      ...parcels,
      '--dir',
      hospital.producerKeys,
      '--out',
      out,
    ]);
    expect(code).toBe(0);
    const names = await readdir(join(out, 'records'));
    const contents = await Promise.all(names.map((name) => readFile(join(out, 'records', name), 'latin1')));
    expect(contents.toSorted()).toEqual(messages.map(({ bytes }) => bytes.toString('latin1')).toSorted());
  });

  it('shows in the status, which has every field that was promised', () => {
    const status = JSON.parse(reached['status']?.stdout ?? '') as Status;
    expect(status.state).toBe('ok');
    expect(status.sources.map(({ name, state }) => ({ name, state }))).toEqual([{ name: source, state: 'ok' }]);
    expect(status.producers.map(({ name, state }) => ({ name, state }))).toEqual([{ name: producerName, state: 'ok' }]);
    expect(status.deliveries).toMatchObject({ opened: 4, held: 0, ready: 0 });
    expect(status).toMatchObject({ quarantined: 0, gaps: 0, oldestUnsentMs: 0 });
    expect(status.register).toMatchObject({ fresh: true });
    expect(status.clock.trusted).toBe(true);
    expect(status.disk.freeBytes).toBeGreaterThan(0);
    expect(status.ledgerHead?.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.keys(status.deliveries).toSorted()).toEqual([...deliveryStates].toSorted());
  });

  it('leaves a ledger that verifies, with the heads its producer has witnessed', () => {
    expect(JSON.parse(reached['verify']?.stdout ?? '')).toMatchObject({ ok: true, witnessed: 2 });
  });

  it('is in the record of provision, one line a record, under its digest', async () => {
    const csv = (await readFile(join(hospital.folder, 'provision.csv'), 'utf8')).trim().split('\r\n');
    expect(csv).toHaveLength(1 + messages.length);
    expect(csv.slice(1).map((line) => line.split(',').at(-1))).toEqual(expect.arrayContaining(digests));
    for (const line of csv.slice(1)) expect(line).toContain(',0000012345,');
  });

  it('found a site that `check --live` calls sound', () => {
    const { checks } = JSON.parse(reached['live']?.stdout ?? '') as { checks: { check: string; state: string }[] };
    expect(checks.filter(({ state }) => state !== 'ok')).toEqual([]);
    for (const name of [
      'site key',
      'state folder',
      `source ${source}`,
      `producer ${producerName}`,
      'clock',
      'register',
    ])
      expect(checks.map(({ check }) => check)).toContain(name);
  });

  it('does not keep the agent from stopping when it is told to', async () => {
    expect(await hospital.agent.stop()).toBe(0);
    // Stopped, it answers from its state folder all the same, and its ledger has the stop behind it.
    const { code, stdout } = await hospital.cli('status', '--json');
    expect({ code, running: (JSON.parse(stdout) as { running: boolean }).running }).toEqual({
      code: 0,
      running: false,
    });
  });
});

describe('the exit code', () => {
  let hospital: Hospital;
  beforeAll(async () => {
    hospital = await Hospital.create();
    await hospital.writeConfig();
  });
  afterAll(() => hospital.close());

  it('is 2 for a command that does not exist and for one that is used wrongly', async () => {
    expect((await hospital.cli('shipp')).code).toBe(2);
    expect((await hospital.cli('register', 'notify', '--patient', '1')).code).toBe(2);
    expect((await hospital.cli('ship', 'nobody')).code).toBe(2);
  });

  it('is 1 for what was asked rightly and failed', async () => {
    // Nobody listens where the configuration says that the producer is.
    expect((await hospital.cli('ship')).code).toBe(1);
    expect((await hospital.cli('check', '--live')).code).toBe(1);
  });

  it('is 2 for a configuration with five mistakes, which are all told at once', async () => {
    const file = join(hospital.folder, 'hospital', 'five.yaml');
    await mkdir(join(hospital.folder, 'hospital'), { recursive: true });
    const mistakes = [
      'facility: { code: 131234, name: 架橋病院 }',
      `state: ${hospital.state}`,
      `keys: { site: { file: ${hospital.siteKeyFile} } }`,
      'sources:',
      '  - { name: ehr-feed, kind: hl7v3, listen: 127.0.0.1:2575 }',
      'register: { waitingDays: 7 }',
      'hold: { dayz: 45 }',
      'health: { heartbeat: 1s }',
      '',
    ];
    await writeFile(file, mistakes.join('\n'));
    for (const verb of ['check', 'run', 'status']) {
      const { code, stderr } = await hospital.command('agent', [verb, '--config', file]);
      expect({ verb, code }).toEqual({ verb, code: 2 });
      const lines = stderr.split('\n').filter((line) => /five\.yaml:\d+/.test(line));
      for (const name of ['code', 'kind', 'waitingDays', 'dayz', 'heartbeat'])
        expect(
          lines.filter((line) => line.includes(name)),
          stderr,
        ).toHaveLength(1);
      expect(lines).toHaveLength(5);
    }
  });
});
