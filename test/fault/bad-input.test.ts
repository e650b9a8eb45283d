/** What a hospital's network, disk, clock and people do to a running connector: told with a code, and nothing is lost. */
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import type { ErrorCode } from '../../agent/model/errors.ts';
import { daysAgo, facility, Hospital, producerName, source } from '../peers/hospital/hospital.ts';
import { hl7, type Hl7Message, person } from '../peers/hospital/messages.ts';
import { StubbornSender } from '../peers/hospital/stubborn-sender.ts';
import { ConnectProxy } from '../peers/producer/proxies.ts';

const run = promisify(execFile);
const patient = person('0000012345');
const MiB = 1024 * 1024;

function message(controlId: string): Hl7Message {
  return hl7({ controlId, person: patient });
}

/** One message, and it is taken. */
async function sendOne(hospital: Hospital, controlId: string): Promise<string> {
  const sent = message(controlId);
  expect(await hospital.send([sent])).toEqual([{ code: 'AA', controlId }]);
  return sent.sha256;
}

async function untilCode(hospital: Hospital, code: ErrorCode): Promise<void> {
  await hospital.until(({ producers }) => producers[0]?.code === code);
}

describe('a full disk', () => {
  let hospital: Hospital;
  let mount: string;

  beforeEach(async () => {
    hospital = await Hospital.create({ settings: { limits: { freeBytesMin: '64M' } } });
    mount = hospital.state;
    // `init` has made it, with the recovery file in it; the small disk takes its place.
    await rename(mount, `${mount}.made`);
    await mkdir(mount, { mode: 0o700 });
    await run('mount', ['-t', 'tmpfs', '-o', 'size=320m,mode=700', 'tmpfs', mount]);
    await run('cp', ['-a', `${mount}.made/.`, mount]);
    await hospital.startProducer();
    await hospital.writeConfig();
    await hospital.startAgent();
    await hospital.enrol([patient.id]);
    await hospital.untilTrusted();
  });
  afterEach(async () => {
    try {
      // Lazily: whoever still has files open there is ended next.
      await run('umount', ['-l', mount]);
    } finally {
      await hospital.close();
    }
  });

  it('answers AE, and takes everything when there is space again; nothing acknowledged is lost', async () => {
    let number = 0;
    let isOver = false;
    const next = () => {
      number += 1;
      const reportChars = number % 4 === 0 ? 400_000 : 0;
      return isOver ? undefined : hl7({ controlId: `D-${number}`, person: patient, reportChars });
    };
    const sender = new StubbornSender({ port: () => hospital.port, next, inFlight: 8, pauseMs: 2 });
    const sending = sender.run();
    await untilCount(() => sender.acknowledged.length, 20);
    for (let time = 0; time < 2; time++) {
      await fill(join(mount, 'ballast'));
      const before = sender.refusals.length;
      await untilCount(() => sender.refusals.length, before + 5);
      await rm(join(mount, 'ballast'));
      const taken = sender.acknowledged.length;
      await untilCount(() => sender.acknowledged.length, taken + 20);
    }
    isOver = true;
    await sending;
    expect(new Set(sender.refusals)).toEqual(new Set(['AE']));
    expect(hospital.agent.said.stdout).toContain('"BUFFER_FULL"');
    while ((await hospital.ship()).records > 0 || (await hospital.status()).deliveries.ready > 0);
    await hospital.until(({ deliveries }) => deliveries.stored === 0);
    expect(await hospital.openedDigests()).toEqual(sender.acknowledged.map(({ sha256 }) => sha256).toSorted());
    expect((await hospital.opened()).length).toBe(sender.acknowledged.length);
    expect(await hospital.stateFiles('spool')).toEqual([]);
    expect(await hospital.ask('ledger.verify')).toMatchObject({ ok: true });
  });
});

/** Writes until nothing more fits. */
async function fill(path: string): Promise<void> {
  await run('dd', ['if=/dev/zero', `of=${path}`, `bs=${MiB}`]).catch((error: { stderr: string }) => {
    expect(error.stderr).toContain('No space left');
  });
}

async function untilCount(count: () => number, wanted: number): Promise<void> {
  while (count() < wanted) await systemClock.sleep(20);
}

describe('a line to the producer that does not work', () => {
  let hospital: Hospital;
  let digest: string;

  beforeAll(async () => {
    hospital = await Hospital.open([patient.id]);
    digest = await sendOne(hospital, 'LINE-1');
  });
  afterAll(() => hospital.close());

  /** Shown in the status with its code, and by `check --live` with what to do; the record waits. */
  async function expectCode(code: ErrorCode): Promise<void> {
    await untilCode(hospital, code);
    await expect(hospital.ship()).rejects.toMatchObject({ code });
    const { code: exit, stdout } = await hospital.cli('check', '--live', '--json');
    const { checks } = JSON.parse(stdout) as { checks: { check: string; state: string; todo?: string }[] };
    expect(exit).toBe(1);
    expect(checks.find(({ check }) => check === `producer ${producerName}`)).toMatchObject({
      state: 'fail',
      todo: expect.stringMatching(/\w/),
    });
    const { state, deliveries } = await hospital.status();
    expect(state).toBe('attention');
    expect(deliveries.held + deliveries.ready).toBe(1);
    expect(await hospital.opened()).toEqual([]);
  }

  it('is told as another CA when somebody else answers in its place', async () => {
    const other = await Hospital.create();
    try {
      await other.startProducer();
      const url = `https://127.0.0.1:${other.producer.ready.port}/`;
      await hospital.restartWith({}, url);
      await expectCode('TLS_SERVER_UNKNOWN');
      expect(hospital.agent.said.stdout).toContain('"code":"TLS_SERVER_UNKNOWN"');
    } finally {
      await other.close();
    }
  });

  it('is told as an expired certificate of our own', async () => {
    const out = join(hospital.folder, 'hospital', 'expired');
    const main = ['producer/main.ts', 'client', '--dir', hospital.producerKeys, '--facility', facility, '--out', out];
    await run('faketime', ['-f', '-1500d', process.execPath, ...main]);
    const tls = { ca: 'ldi/ca.pem', cert: 'expired/client.pem', key: 'expired/client.key' };
    await hospital.restartWith({ producer: { tls } });
    await expectCode('TLS_CLIENT_EXPIRED');
    const { stdout } = await hospital.cli('check', '--live', '--json');
    const { checks } = JSON.parse(stdout) as { checks: { check: string; found: string }[] };
    expect(checks.find(({ check }) => check === `certificate for ${producerName}`)?.found).toBe('expired');
  });

  it('is told as a proxy that wants a password; with the password the record arrives', async () => {
    const proxy = await ConnectProxy.start({ credentials: 'kakehashi:geheim-9' });
    try {
      await hospital.restartWith({ producer: { tls: ownTls, proxy: { url: proxy.url } } });
      await expectCode('PROXY_AUTH_REQUIRED');
      const file = join(hospital.folder, 'hospital', 'proxy.password');
      await writeFile(file, 'geheim-9\n', { mode: 0o600 });
      const login = { url: proxy.url, username: 'kakehashi', password: { file } };
      await hospital.restartWith({ producer: { tls: ownTls, proxy: login } });
      await hospital.untilTrusted();
      expect(await hospital.ship()).toMatchObject({ records: 1, opened: 1 });
      expect(await hospital.openedDigests()).toEqual([digest]);
      expect(hospital.said).not.toContain('geheim-9');
    } finally {
      await hospital.restartWith({ producer: { tls: ownTls, proxy: undefined } });
      await proxy.close();
    }
  });
});

const ownTls = { ca: 'ldi/ca.pem', cert: 'ldi/client.pem', key: 'ldi/client.key' };

describe('a clock that is 40 days ahead', () => {
  it('holds everything, says so, and ships nothing; with the right time it ships, and destroys nothing early', async () => {
    const hospital = await Hospital.open([patient.id]);
    try {
      await hospital.agent.stop();
      await hospital.startAgent({ under: ['faketime', '-f', '+40d'] });
      await hospital.until(({ clock }) => clock.reason === 'ahead');
      const digest = await sendOne(hospital, 'CLOCK-1');
      expect(await hospital.ship()).toMatchObject({ records: 0, pausedBy: 'clock-untrusted' });
      const status = await hospital.status();
      expect(status.deliveries).toMatchObject({ held: 1, ready: 0, opened: 0 });
      expect(status.state).toBe('attention');
      expect(status.advice.map(({ reason }) => reason)).toContain('clock-untrusted');
      expect(await hospital.opened()).toEqual([]);
      await hospital.agent.stop();
      await hospital.startAgent();
      await hospital.untilTrusted();
      expect(await hospital.ship()).toMatchObject({ records: 1, opened: 1 });
      expect(await hospital.openedDigests()).toEqual([digest]);
    } finally {
      await hospital.close();
    }
  });
});

describe('people and service managers', () => {
  let hospital: Hospital;
  beforeAll(async () => {
    hospital = await Hospital.open([patient.id]);
  });
  afterAll(() => hospital.close());

  it('do not get a second agent on the same state', async () => {
    const { code, stderr } = await hospital.cli('run');
    expect(code).toBe(1);
    expect(stderr).toContain('STATE_LOCKED');
    await sendOne(hospital, 'LOCK-1');
  });

  it('may send SIGHUP with a bad file: the agent goes on as it was, and takes a good one', async () => {
    const good = await readFile(hospital.configFile, 'utf8');
    await writeFile(hospital.configFile, good.replace('"kind":"hl7v2"', '"kind":"hl7v9"'));
    hospital.agent.signal('SIGHUP');
    await untilSaid(hospital, 'config.reload-failed');
    await sendOne(hospital, 'HUP-1');
    await writeFile(hospital.configFile, good.replace('"heartbeat":"10s"', '"heartbeat":"11s"'));
    hospital.agent.signal('SIGHUP');
    await untilSaid(hospital, 'config.reloaded');
    await sendOne(hospital, 'HUP-2');
    expect(hospital.agent.isRunning).toBe(true);
  });

  it('may pause a source and a producer, over a restart, and resume them', async () => {
    await hospital.untilTrusted();
    const { port } = hospital;
    const before = (await hospital.opened()).length;
    await sendOne(hospital, 'PAUSE-1');
    expect((await hospital.cli('pause')).code).toBe(0);
    await expect(once(connect(port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(await hospital.ship()).toMatchObject({ records: 0, pausedBy: 'paused' });
    expect((await hospital.status()).state).toBe('paused');
    await hospital.agent.stop();
    await hospital.startAgent();
    await hospital.untilTrusted();
    expect(await hospital.ship()).toMatchObject({ records: 0, pausedBy: 'paused' });
    expect((await hospital.cli('resume')).code).toBe(0);
    const { sources } = await hospital.status();
    expect(sources).toMatchObject([{ name: source, state: 'ok' }]);
    expect((await hospital.ship()).records).toBeGreaterThan(0);
    expect((await hospital.opened()).length).toBeGreaterThan(before);
  });

  it('may stop it at any moment of a run, and it has stopped in order within ten seconds', async () => {
    await hospital.restartWith({});
    await hospital.untilTrusted();
    for (let moment = 0; moment < 12; moment++) {
      await sendOne(hospital, `STOP-${moment}`);
      const shipping = hospital.ship().catch((error: unknown) => error);
      // The first milliseconds hold the connection, the greeting, the packing and the announcement.
      await systemClock.sleep(moment * 7);
      expect(await hospital.agent.stop()).toBe(0);
      await shipping;
      await hospital.startAgent();
      await hospital.untilTrusted();
    }
    await drain(hospital);
  });

  it('may end it in the middle of a slow upload and of a message: it stops, and both are there again after', async () => {
    await hospital.restartWith({ producer: { bandwidth: '64K' } });
    await hospital.untilTrusted();
    const report = randomBytes(600_000).toString('base64');
    const large = hl7({ controlId: 'SLOW-1', person: patient, report });
    expect(await hospital.send([large])).toEqual([{ code: 'AA', controlId: 'SLOW-1' }]);
    // The command is cut off with the agent.
    const shipping = hospital.ship().catch((error: unknown) => error);
    const incoming = join(hospital.data, 'incoming', facility);
    while ((await readdir(incoming).catch(() => [])).length === 0) await systemClock.sleep(20);
    const half = connect(hospital.port, '127.0.0.1');
    half.on('error', () => undefined);
    half.write('\vMSH|^~\\&|HALF');
    expect(await hospital.agent.stop()).toBe(0);
    expect(await shipping).toMatchObject({ code: 'CONTROL_BROKEN' });
    half.destroy();
    await hospital.restartWith({ producer: {} });
    await hospital.untilTrusted();
    await drain(hospital);
    const digests = await hospital.openedDigests();
    expect(digests.filter((digest) => digest === large.sha256)).toHaveLength(1);
  });
});

/** Ships until the producer has opened everything; what an interrupted run has left with it, too. */
async function drain(hospital: Hospital): Promise<void> {
  for (;;) {
    await hospital.ship();
    const { deliveries } = await hospital.status();
    if (deliveries.ready + deliveries.packed + deliveries.stored === 0) return;
  }
}

/** Of the agent's log. */
async function untilSaid(hospital: Hospital, name: string): Promise<void> {
  while (!hospital.agent.said.stdout.includes(name)) await systemClock.sleep(20);
}

describe('a register file in the watched folder', () => {
  let hospital: Hospital;
  let folder: string;
  const many = Array.from({ length: 40 }, (_, index) => String(7_000_000_001 + index));
  const header = 'patient_id,basis,notice,notified_on,stopped_on,as_of';
  const row = (id: string, notifiedOn = daysAgo(90), stoppedOn = '') =>
    `${id},article-57,2025-01,${notifiedOn},${stoppedOn},${daysAgo(0)}`;
  const wholeList = [header, ...[...many, patient.id].map((id) => row(id))];

  beforeAll(async () => {
    hospital = await Hospital.open([]);
    folder = join(hospital.state, 'register');
    await offer('first.csv', wholeList);
  });
  afterAll(() => hospital.close());

  /** Lays a file there that has been quiet for a minute, and waits until it is gone. */
  async function offer(name: string, lines: readonly string[]): Promise<void> {
    const path = join(folder, name);
    await mkdir(folder, { recursive: true });
    await writeFile(`${path}.tmp`, `${lines.join('\n')}\n`);
    const then = systemClock.now() / 1000 - 60;
    await utimes(`${path}.tmp`, then, then);
    await rename(`${path}.tmp`, path);
    // Any entry by hand makes it look at once.
    await hospital.ask('register.notify', { patient: many[0], notice: '2025-01', on: daysAgo(90) });
    while (await stat(path).catch(() => undefined)) await systemClock.sleep(20);
  }

  /** The report is written once the file has its new name. */
  async function report(name: string): Promise<string> {
    while (!(await readdir(folder)).includes(`${name}.report.txt`)) await systemClock.sleep(20);
    return readFile(join(folder, `${name}.report.txt`), 'utf8');
  }

  it('is imported and deleted', async () => {
    expect(await readdir(folder)).toEqual([]);
    const shown = await hospital.ask<{ patient: { known: boolean } }>('register.show', { patient: many[3] });
    expect(shown.patient.known).toBe(true);
  });

  it('with a bad date is taken without that row, which is reported by its line alone', async () => {
    const lines = [...wholeList];
    lines[7] = row(many[6] as string, '2025-02-30');
    await offer('date.csv', lines);
    const text = await report('date.csv');
    expect(text).toContain('line 8: NOTIFIED_ON');
    expect(text).not.toContain(many[6]);
    expect((await hospital.status()).register.fresh).toBe(true);
  });

  it('with a column missing is refused whole, kept aside, and the reason is beside it', async () => {
    await offer(
      'column.csv',
      wholeList.map((line) => line.split(',').toSpliced(4, 1).join(',')),
    );
    expect(await readdir(folder)).toContain('column.csv.refused');
    expect(await report('column.csv.refused')).toContain('REGISTER_HEADER');
    expect(hospital.agent.said.stdout).toContain('REGISTER_HEADER');
  });

  it('with half of its rows missing is refused whole, and nobody is forgotten', async () => {
    await offer('half.csv', wholeList.slice(0, 20));
    expect(await report('half.csv.refused')).toContain('REGISTER_SHRUNK');
    const shown = await hospital.ask<{ patient: { notices: unknown[] } }>('register.show', { patient: many.at(-1) });
    expect(shown.patient.notices).toHaveLength(1);
  });

  it('with a stop that cannot be read pauses shipping, until a whole list says what was meant', async () => {
    await offer('stop.csv', [...wholeList.slice(0, -1), row(patient.id, daysAgo(90), '2025-13-01')]);
    expect(await report('stop.csv')).toContain(`line ${wholeList.length}: STOPPED_ON`);
    const digest = await sendOne(hospital, 'REG-1');
    expect(await hospital.ship()).toMatchObject({ records: 0, pausedBy: 'register-stale' });
    const { state, register } = await hospital.status();
    expect({ state, fresh: register.fresh }).toEqual({ state: 'attention', fresh: false });
    await offer('whole.csv', wholeList);
    expect(await hospital.ship()).toMatchObject({ records: 1, opened: 1 });
    expect(await hospital.openedDigests()).toEqual([digest]);
  });
});

describe('a parcel the producer could not open', () => {
  it('is kept, told, and shipped again when a person says so', async () => {
    const hospital = await Hospital.open([patient.id]);
    try {
      const identity = join(hospital.producerKeys, 'online.identity');
      const spare = join(hospital.producerKeys, 'recovery.identity');
      await Promise.all([rename(identity, `${identity}.away`), rename(spare, `${spare}.away`)]);
      const other = await Hospital.create();
      await writeFile(identity, await readFile(join(other.producerKeys, 'online.identity')), { mode: 0o600 });
      await other.close();
      await hospital.producer.stop();
      await hospital.startProducer();
      const digest = await sendOne(hospital, 'REJ-1');
      expect(await hospital.ship()).toMatchObject({ records: 1, stored: 1, opened: 0, rejected: 1 });
      const { deliveries, advice } = await hospital.status();
      expect(deliveries.rejected).toBe(1);
      expect(hospital.said).toContain('PARCEL_REJECTED');
      expect(advice.map(({ reason }) => reason)).toContain('delivery-rejected');
      expect(await hospital.ask('buffer.verify')).toMatchObject({ records: 1 });
      expect(await hospital.ship()).toMatchObject({ records: 0 });
      await hospital.producer.stop();
      await rename(`${identity}.away`, identity);
      await hospital.startProducer();
      expect((await hospital.cli('ship', '--rejected')).code).toBe(0);
      await hospital.until((status) => status.deliveries.opened === 1);
      expect(await hospital.openedDigests()).toEqual([digest]);
    } finally {
      await hospital.close();
    }
  });
});

describe('nobody at the keyboard', () => {
  it('ships what was due while the machine was off, and then when the schedule says so', async () => {
    const hospital = await Hospital.create({ producer: { schedule: '* * * * *' } });
    try {
      await hospital.startProducer();
      await hospital.writeConfig();
      // A day ago it ran and knew its timetable; its clock was not believed, and nothing left.
      await hospital.startAgent({ under: ['faketime', '-f', '-1d'] });
      await hospital.enrol([patient.id]);
      const digest = await sendOne(hospital, 'AUTO-1');
      await hospital.agent.stop();
      expect(await hospital.opened()).toEqual([]);
      await hospital.startAgent();
      await hospital.until(({ deliveries }) => deliveries.opened === 1);
      expect(await hospital.openedDigests()).toEqual([digest]);
      expect(hospital.agent.said.stdout).toContain('schedule.missed');
      const next = await sendOne(hospital, 'AUTO-2');
      await hospital.until(({ deliveries }) => deliveries.opened === 2);
      expect(await hospital.openedDigests()).toEqual([digest, next].toSorted());
    } finally {
      await hospital.close();
    }
    // The next minute, and this hospital's own delay of less than a minute.
  }, 240_000);
});
