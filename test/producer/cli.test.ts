/** The command line as its users meet it: the real process, its words, its files, its exit codes. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Decrypter, Encrypter } from 'age-encryption';
import { importPKCS8, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newSigningKey, signJws, verifyJws } from '../../agent/base/jws.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { deliverSample, imageEntry, packSample, seriesUid, studyUid, subjectLine, textEntry } from './parcels.ts';
import { recordIdOf } from '../parcel/record-line.ts';
import { producer } from './process.ts';
import { facility, heartbeatBody, type Hospital, receiptOf, Rig, sha256 } from './rig.ts';

const run = promisify(execFile);

let rig: Rig;
let out: string;

beforeEach(async () => {
  rig = await Rig.create();
  out = join(rig.folder, 'out');
});
afterEach(() => rig.close());

describe('keygen', () => {
  it('makes keys that off-the-shelf tools accept, readable by their owner only', async () => {
    const dir = join(rig.folder, 'new');
    const { exit, stdout } = await producer(
      'keygen',
      '--dir',
      dir,
      '--name',
      'sakura',
      '--host',
      'intake.example,10.0.0.1',
    );
    expect(exit).toBe(0);
    expect(stdout).toContain('MOVE to an offline safe');
    for (const file of await readdir(dir)) expect((await stat(join(dir, file))).mode & 0o777, file).toBe(0o600);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    const certificate = (
      await run('openssl', ['x509', '-in', join(dir, 'server.pem'), '-noout', '-ext', 'subjectAltName'])
    ).stdout;
    expect(certificate).toContain('DNS:intake.example, IP Address:10.0.0.1');
    const verified = await run('openssl', ['verify', '-CAfile', join(dir, 'ca.pem'), join(dir, 'server.pem')]);
    expect(verified.stdout).toContain('OK');
    const key = await importPKCS8(await readFile(join(dir, 'receipt.key'), 'utf8'), 'EdDSA');
    await expect(new SignJWT({}).setProtectedHeader({ alg: 'EdDSA' }).sign(key)).resolves.toMatch(/^ey/);
  });

  it('makes two recipients, each of which has its identity', async () => {
    const recipients = (await readFile(join(rig.keys, 'recipients'), 'utf8')).match(/^age1.*$/gm) ?? [];
    expect(new Set(recipients).size).toBe(2);
    const encrypter = new Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    const sealed = await encrypter.encrypt('架橋');
    for (const file of ['online.identity', 'recovery.identity']) {
      const [identity = ''] = /^AGE-SECRET-KEY-.*$/m.exec(await readFile(join(rig.keys, file), 'utf8')) ?? [];
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity);
      expect(await decrypter.decrypt(sealed, 'text')).toBe('架橋');
    }
  });

  it('refuses to overwrite anything', async () => {
    const before = await readFile(join(rig.keys, 'receipt.key'));
    const { exit, stderr } = await producer('keygen', '--dir', rig.keys);
    expect({ exit, code: stderr.split(' ')[0] }).toEqual({ exit: 1, code: 'ALREADY_EXISTS' });
    expect(await readFile(join(rig.keys, 'receipt.key'))).toEqual(before);
  });
});

describe('keygen --renew-server', () => {
  it('replaces the server certificate and nothing else, and hospitals get in as before', async () => {
    const hospital = await rig.hospital(facility);
    const before = await readFile(join(rig.keys, 'receipt.key'));
    const old = await readFile(join(rig.keys, 'server.pem'));
    const { exit } = await producer('keygen', '--dir', rig.keys, '--renew-server');
    expect(exit).toBe(0);
    expect(await readFile(join(rig.keys, 'server.pem'))).not.toEqual(old);
    expect(await readFile(join(rig.keys, 'receipt.key'))).toEqual(before);
    await rig.start();
    expect(await hospital.hello()).toMatchObject({ status: 200 });
  });

  it('needs a key folder to renew in', async () => {
    const { exit, stderr } = await producer('keygen', '--dir', out, '--renew-server');
    expect({ exit, code: stderr.split(' ')[0] }).toEqual({ exit: 1, code: 'PRODUCER_KEYS_UNUSABLE' });
    expect(existsSync(out)).toBe(false);
  });
});

describe('client', () => {
  it('makes the small folder a hospital is given, and tells how to shut it out', async () => {
    const { exit, stdout } = await producer(
      'client',
      '--dir',
      rig.keys,
      '--facility',
      facility,
      '--out',
      out,
      '--json',
    );
    expect(exit).toBe(0);
    expect((await readdir(out)).toSorted()).toEqual([
      'ca.pem',
      'client.key',
      'client.pem',
      'receipt.jwks',
      'recipients',
    ]);
    const { serial } = JSON.parse(stdout);
    const shown = await run('openssl', ['x509', '-in', join(out, 'client.pem'), '-noout', '-serial', '-subject']);
    expect(shown.stdout.toLowerCase()).toContain(`serial=${serial}`);
    expect(shown.stdout).toContain(`CN = ${facility}`);
  });

  it('issues a second certificate beside the first, and never overwrites a folder', async () => {
    const args = ['client', '--dir', rig.keys, '--facility', facility, '--out'];
    await producer(...args, out);
    expect((await producer(...args, out)).stderr).toContain('ALREADY_EXISTS');
    expect((await producer(...args, join(rig.folder, 'second'))).exit).toBe(0);
    const known = JSON.parse(await readFile(join(rig.keys, 'clients', `${facility}.json`), 'utf8'));
    expect(known.certificates).toHaveLength(2);
  });

  it("registers an agent's key, and refuses a file that is none", async () => {
    const file = join(rig.folder, 'agent.jwk');
    const args = ['client', '--dir', rig.keys, '--facility', facility, '--out', out, '--agent-key', file];
    expect((await producer(...args)).stderr).toContain('FILE_UNREADABLE');
    await writeFile(file, '{"kty":"RSA"}');
    expect((await producer(...args)).stderr).toContain('it is not an Ed25519 public key');
    const { publicJwk } = newSigningKey();
    await writeFile(file, JSON.stringify({ ...publicJwk, kid: 'x' }));
    expect((await producer(...args)).exit).toBe(0);
    const known = JSON.parse(await readFile(join(rig.keys, 'clients', `${facility}.json`), 'utf8'));
    expect(known.agentKey).toEqual(publicJwk);
  });

  it('does not use keys that others may read, or a folder that is none', async () => {
    const args = ['client', '--facility', facility, '--out', out, '--dir'];
    expect((await producer(...args, join(rig.folder, 'nowhere'))).stderr).toContain('PRODUCER_KEYS_UNUSABLE');
    await chmod(join(rig.keys, 'ca.key'), 0o644);
    expect((await producer(...args, rig.keys)).stderr).toContain('ca.key has mode 644, not 600');
    expect(existsSync(out)).toBe(false);
  });
});

describe('the command line', () => {
  it.each([
    [['keygen'], 'keygen needs --dir.'],
    [['kegen'], 'There is no command "kegen".'],
    [['keygen', '--dir', 'x', '--nmae', 'y'], "Unknown option '--nmae'."],
    [['keygen', '--dir', 'x', 'y'], '"y" is one word too many.'],
    [['keygen', '--dir', 'x', '--name', 'Not A Name'], '--name: expected'],
    [['keygen', '--dir', 'x', '--host', 'a b'], '--host: expected'],
    [['client', '--dir', 'x', '--facility', '../x'], '--facility: expected'],
    [['serve', '--dir', 'x', '--data', 'y', '--listen', '8443'], '--listen: expected an address and a port'],
    [['serve', '--dir', 'x', '--data', 'y', '--listen', '127.0.0.1:0', '--quota', 'much'], '--quota: expected a size'],
    [['open', '--dir', 'x', '--out', 'y'], 'open needs PARCEL…'],
  ])('refuses %j with exit code 2 and says what is wrong', async (args, problem) => {
    const { exit, stderr, stdout } = await producer(...args);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toContain('PRODUCER_USAGE');
    expect(stderr).toContain(problem);
  });

  it.each(['keygen', 'client', 'serve', 'open', 'fleet'])('explains %s with --help', async (verb) => {
    const { exit, stdout } = await producer(verb, '--help');
    expect(exit).toBe(0);
    expect(stdout).toContain(`kakehashi-producer ${verb}`);
    expect(stdout).toContain('--json');
  });

  it.each([[[]], [['help']], [['--help']]])('lists its commands when given %j', async (args) => {
    const { exit, stdout } = await producer(...args);
    expect(exit).toBe(0);
    for (const verb of ['keygen', 'client', 'serve', 'open', 'fleet']) expect(stdout).toContain(`\n  ${verb} `);
  });
});

describe('open', () => {
  let hospital: Hospital;
  let parcel: string;
  const pixels = randomBytes(50_000);

  beforeEach(async () => {
    await rig.start();
    hospital = await rig.hospital(facility);
    await hospital.hello();
    const packed = await packSample(hospital, {
      folder: rig.folder,
      entries: [textEntry(1, 'MSH|架橋 太郎\u2028'), imageEntry(2, pixels), textEntry(3, 'MSH|架橋 花子')],
      subjects: [subjectLine(1, '架橋 太郎\u2028'), subjectLine(3, '架橋 花子')],
    });
    await deliverSample(hospital, packed);
    parcel = join(rig.data, 'parcels', facility, `${packed.statement.parcelId}.age`);
  });

  it('lays everything out for use, byte for byte', async () => {
    const { exit, stdout } = await producer('open', parcel, '--dir', rig.keys, '--out', out);
    expect(exit).toBe(0);
    expect(stdout).toContain('3 records, 1 of them images in 1 studies; 0 left out as retracted.');
    expect(stdout).not.toContain('架橋');
    expect(await readFile(join(out, 'records', recordIdOf(1)), 'utf8')).toBe('MSH|架橋 太郎\u2028');
    const image = await readFile(join(out, 'studies', studyUid, seriesUid, `${recordIdOf(2)}.dcm`));
    expect(sha256(image.subarray(-pixels.length))).toBe(sha256(pixels));
    const lines = async (file: string) => (await readFile(join(out, file), 'utf8')).trimEnd().split('\n');
    expect(await lines('records.ndjson')).toHaveLength(3);
    expect(await lines('subjects.ndjson')).toHaveLength(2);
    const index = JSON.parse(await readFile(join(out, 'index.json'), 'utf8'));
    expect(index.studies).toEqual([{ studyInstanceUid: studyUid, series: 1, instances: 1 }]);
    expect((await readdir(rig.folder)).filter((name) => name.endsWith('.opening'))).toEqual([]);
  });

  it('opens with the recovery identity alone', async () => {
    await rm(join(rig.keys, 'online.identity'));
    expect((await producer('open', parcel, '--dir', rig.keys, '--out', out)).exit).toBe(0);
  });

  it('says when it has no identity at all', async () => {
    for (const file of ['online.identity', 'recovery.identity']) await rm(join(rig.keys, file));
    const { exit, stderr } = await producer('open', parcel, '--dir', rig.keys, '--out', out);
    expect(exit).toBe(1);
    expect(stderr).toContain('it holds neither online.identity nor recovery.identity');
  });

  it('publishes nothing of a parcel with one bit flipped', async () => {
    const bytes = await readFile(parcel);
    bytes[bytes.length - 100] = (bytes.at(-100) ?? 0) ^ 1;
    await writeFile(parcel, bytes);
    const { exit, stderr } = await producer('open', parcel, '--dir', rig.keys, '--out', out, '--json');
    expect(exit).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'PARCEL_DAMAGED' } });
    expect(existsSync(out)).toBe(false);
  });

  it('does not overwrite what is there', async () => {
    await mkdir(out);
    expect((await producer('open', parcel, '--dir', rig.keys, '--out', out)).stderr).toContain('ALREADY_EXISTS');
  });

  it('merges several parcels, and keeps a record that two of them hold once', async () => {
    const again = await packSample(hospital, {
      folder: rig.folder,
      entries: [textEntry(1, 'MSH|架橋 太郎\u2028'), textEntry(4, 'MSH|架橋 次郎')],
    });
    const second = join(rig.folder, 'second.age');
    await writeFile(second, again.bytes);
    const { stdout } = await producer('open', parcel, second, '--dir', rig.keys, '--out', out, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ records: 4, parcels: [{ records: 3 }, { records: 2 }] });
  });

  it('files an image with the records when its study is named by something that is not a UID', async () => {
    const evil = await packSample(hospital, {
      folder: rig.folder,
      entries: [
        imageEntry(5, pixels, { studyInstanceUid: '../../../escape' }),
        imageEntry(6, pixels, { seriesInstanceUid: '1.2/3' }),
      ],
    });
    const file = join(rig.folder, 'evil.age');
    await writeFile(file, evil.bytes);
    expect((await producer('open', file, '--dir', rig.keys, '--out', out)).exit).toBe(0);
    expect((await readdir(join(out, 'records'))).toSorted()).toEqual([recordIdOf(5), recordIdOf(6)]);
    expect(existsSync(join(out, 'studies'))).toBe(false);
    const index = JSON.parse(await readFile(join(out, 'index.json'), 'utf8'));
    expect(index.records).toMatchObject([{ uidInvalid: true }, { uidInvalid: true }]);
  });

  it('leaves out what was retracted, and marks it in the index', async () => {
    const jws = await hospital.retraction({ recordIds: [recordIdOf(1)], subjectIds: ['s-1'] });
    await hospital.post('v1/retractions', jws);
    const folder = join(rig.data, 'retractions', facility);
    const args = ['open', parcel, '--dir', rig.keys, '--out', out, '--retractions'];
    expect((await producer(...args, join(rig.folder, 'nowhere'))).stderr).toContain('FILE_UNREADABLE');
    const { stdout } = await producer(...args, folder);
    expect(stdout).toContain('1 left out as retracted.');
    expect(existsSync(join(out, 'records', recordIdOf(1)))).toBe(false);
    expect(await readFile(join(out, 'subjects.ndjson'), 'utf8')).not.toContain('太郎');
  });

  it('compares a parcel with the statement beside it where it has the key of the agent', async () => {
    const known = { facility, agentKey: hospital.key.publicJwk, certificates: [] };
    await writeFile(join(rig.keys, 'clients', `${facility}.json`), JSON.stringify(known));
    const args = ['open', parcel, '--dir', rig.keys, '--json', '--out'];
    expect(JSON.parse((await producer(...args, out)).stdout)).toMatchObject({ senderVerified: true });
    await writeFile(parcel.replace('.age', '.jws'), signJws(newSigningKey(), jwsTypes.parcel, {}));
    const forged = await producer(...args, join(rig.folder, 'forged'));
    expect(JSON.parse(forged.stderr)).toMatchObject({ error: { code: 'SIGNATURE_INVALID' } });
  });

  it('signs offline what becomes an `opened` receipt in the chain once it is brought to the intake', async () => {
    const { exit } = await producer('open', parcel, '--dir', rig.keys, '--out', out, '--receipt');
    expect(exit).toBe(0);
    const [name = ''] = (await readdir(out)).filter((file) => file.endsWith('.opened.jws'));
    const signed = (await readFile(join(out, name), 'utf8')).trim();
    const jwks = JSON.parse(await readFile(join(rig.keys, 'receipt.jwks'), 'utf8'));
    expect(verifyJws(jwks.keys, jwsTypes.receipt, signed)).toMatchObject({ status: 'opened', entries: 3 });
    await rig.stop();
    await writeFile(join(rig.data, 'offline-receipts', name), signed);
    await rig.start();
    const receipts = await hospital.receipts();
    expect(receipts.map(receiptOf)).toMatchObject([
      { status: 'stored', receiptSequence: 1 },
      { status: 'opened', receiptSequence: 2, entries: 3, previousReceipt: sha256(receipts[0] ?? '') },
    ]);
    // Brought a second time it changes nothing.
    await rig.stop();
    await writeFile(join(rig.data, 'offline-receipts', `again-${name}`), signed);
    await rig.start();
    expect(await hospital.receipts()).toEqual(receipts);
  });
});

describe('fleet', () => {
  it('prints a table while the intake is running, and JSON for a program', async () => {
    await rig.start();
    const hospital = await rig.hospital(facility);
    await hospital.hello();
    await hospital.heartbeat(1, { body: heartbeatBody('attention', ['DISK_LOW']) });
    const { exit, stdout } = await producer('fleet', '--data', rig.data);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^HOSPITAL +CONDITION +SAYS/);
    expect(stdout).toMatch(/^1312345670 +attention +attention: DISK_LOW/m);
    expect(stdout).toContain('Hospitals: 1, of them well: 0.');
    const { hospitals } = JSON.parse((await producer('fleet', '--data', rig.data, '--json')).stdout);
    expect(hospitals).toMatchObject([{ facility, condition: 'attention' }]);
  });

  it('does not make an empty database where there is none', async () => {
    const { exit, stderr } = await producer('fleet', '--data', rig.folder);
    expect(exit).toBe(1);
    expect(stderr).toContain('PRODUCER_DATA_MISSING');
    expect(await readdir(rig.folder)).toEqual(['keys']);
  });
});
