/** The console of a real agent: what its reader sees of real records, and that no patient is among it. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addDays, dayJst, systemClock } from '../../agent/base/clock.ts';
import type { Charset } from '../../agent/base/hl7/charset.ts';
import { found, needlesOf } from '../fault/canaries.ts';
import { Hospital, producerName, source } from '../peers/hospital/hospital.ts';
import { hl7, type Person } from '../peers/hospital/messages.ts';

const people = {
  kept: { id: '4711081601', kanji: '綾小路^鶴亀丸', kana: 'アヤノコウジ^ツルカメマル', address: '架空市麒麟町九丁目' },
  held: { id: '4711081602', kanji: '薔薇園^蓮華', kana: 'バラゾノ^レンゲエミ', address: '架空市鳳凰台七番地' },
} as const satisfies Readonly<Record<string, Person>>;

const charsets = ['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const satisfies readonly Charset[];

async function pageOf(hospital: Hospital, language = 'en'): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${hospital.agent.ready.ports?.['console']}/?lang=${language}`);
  expect(answer.status).toBe(200);
  return answer.text();
}

const plain = (page: string) => page.replaceAll(/<[^>]+>/g, ' ').replaceAll(/\s+/g, ' ');

describe('the console of a running agent', () => {
  let hospital: Hospital;
  beforeAll(async () => {
    hospital = await Hospital.open([people.kept.id]);
    const messages = Object.entries(people).flatMap(([role, person]) =>
      charsets.map((charset) => hl7({ controlId: `${role}-${charset}`, person, charset })),
    );
    await hospital.send([...messages, hl7({ controlId: 'Q', person: { ...people.held, id: '' } })]);
  });
  afterAll(() => hospital.close());

  it('tells what waits, and after a shipment what the producer has signed', async () => {
    expect(plain(await pageOf(hospital))).toContain(`${producerName} OK To send Text 4 · Images 0`);
    expect(plain(await pageOf(hospital))).toContain('Last receipt never');
    await hospital.ship();
    await hospital.until(({ deliveries }) => deliveries.opened === charsets.length);
    const page = plain(await pageOf(hospital));
    expect(page).toContain('To send Text 0 · Images 0 Oldest waiting none Last receipt opened, parcel 1');
    expect(page).toContain(`${source} hl7v2 OK`);
    expect(page).toContain(`Port ${hospital.port}`);
  });

  it('tells why what is held is held, and the day it will be destroyed: 45 days from now', async () => {
    const { firstUntil = 0 } = (await hospital.status()).held;
    const first = dayJst(firstUntil);
    expect([0, 1].map((daysAgo) => addDays(dayJst(systemClock.now()), 45 - daysAgo))).toContain(first);
    const page = plain(await pageOf(hospital, 'ja'));
    expect(page).toContain('4 院内保留・暗号化・未提供');
    expect(page).toContain(`最初の破棄予定日 ${first}`);
    expect(page).toContain('患者への通知がまだない 4');
    const shown = await hospital.cli('status');
    expect(shown.stdout).toContain(`最初の破棄予定日 ${first}`);
    expect(shown.stdout).toMatch(/ldi +ok +0 +.* opened, parcel 1, /);
  });

  it('shows nobody: not in four encodings, not as Base64, hex or escapes', async () => {
    const needles = Object.entries(people).flatMap(([role, person]) => needlesOf(role, person));
    for (const language of ['ja', 'en']) {
      const page = await pageOf(hospital, language);
      expect(page).toContain(source);
      expect(found(page, needles)).toEqual([]);
    }
  });

  it('shows a pause when everything is paused, and what to do about it', async () => {
    await hospital.cli('pause');
    expect(plain(await pageOf(hospital))).toMatch(/PAUSED.*kakehashi resume.*ehr-feed hl7v2 Paused/);
    await hospital.cli('resume');
    expect(plain(await pageOf(hospital))).not.toContain('PAUSED');
  });
});

describe('a console in bad times', () => {
  let hospital: Hospital;
  let taken: Server;
  beforeAll(async () => {
    hospital = await Hospital.create();
    taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
  });
  afterAll(async () => {
    taken.close();
    await hospital.close();
  });

  it('is still there in safe mode, and says so', async () => {
    await hospital.writeConfig();
    const marker = { v: 1, isRunning: false, crashes: [], safeSince: systemClock.now() };
    await writeFile(join(hospital.state, 'crash.json'), JSON.stringify(marker));
    await hospital.startAgent();
    expect(plain(await pageOf(hospital, 'ja'))).toMatch(/安全モード.*ログを添えて連絡し.*はい、いつでも切れます/);
    await hospital.cli('resume');
  });

  it('without its port keeps no record waiting: the agent runs, and says what to do', async () => {
    const address = taken.address();
    const listen = `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    await hospital.restartWith({ settings: { console: { listen } } });
    expect(hospital.agent.ready.ports).not.toHaveProperty('console');
    expect(hospital.agent.ready.ports?.['metrics']).toBeGreaterThan(0);
    const { advice } = await hospital.status();
    expect(advice).toContainEqual(
      expect.objectContaining({ reason: 'page-unavailable', code: 'CONSOLE_UNAVAILABLE', subject: 'console' }),
    );
    expect(hospital.said).toContain('"page.failed"');
  });

  it('is refused by `check` on any address but this machine', async () => {
    await hospital.agent.stop();
    const text = await readFile(hospital.configFile, 'utf8');
    await writeFile(hospital.configFile, text.replace(/^console:.*$/m, 'console: { listen: 0.0.0.0:8420 }'));
    const { code, stderr } = await hospital.cli('check');
    expect(code).toBe(2);
    expect(stderr).toMatch(/console\.listen.*expected 127\.0\.0\.1, \[::1\] or localhost and a port/);
  });
});
