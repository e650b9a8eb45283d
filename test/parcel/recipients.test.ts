import { describe, expect, it } from 'vitest';
import { parseIdentities, parseRecipients } from '../../agent/parcel/index.ts';
import { errorOf, useSample } from './samples.ts';

const sample = useSample();

describe('parseRecipients', () => {
  it('reads keys, comments, blank lines and Windows line ends', () => {
    const text = `# online\r\n${sample.recipients[0]}\r\n\r\n  # recovery\r\n${sample.recipients[1]}\r\n`;
    expect(parseRecipients(text)).toEqual(sample.recipients);
  });

  it('refuses fewer than two, so that losing one key does not lose a night', () => {
    expect(() => parseRecipients(`${sample.recipients[0]}\n`)).toThrow(/has 1 key/);
  });

  it('refuses one key given twice, which is no second key', () => {
    expect(() => parseRecipients(`${sample.recipients[0]}\n${sample.recipients[0]}\n`)).toThrow(/line 2 repeats/);
  });

  it('refuses a key with a letter changed', () => {
    const [first = '', second = ''] = sample.recipients;
    const changed = second.replace(/.$/, (letter) => (letter === 'q' ? 'p' : 'q'));
    expect(() => parseRecipients(`${first}\n# next\n${changed}\n`)).toThrow(/line 3 is not an age recipient/);
  });

  it('refuses a secret key without repeating it', () => {
    const secret = sample.identities[0] ?? '';
    const error = errorOf(() => parseRecipients(`${secret}\n`));
    expect(error).toMatchObject({ code: 'RECIPIENTS_INVALID' });
    expect(String(error)).toMatch(/line 1 is a secret key/);
    expect(String(error)).not.toContain(secret);
  });

  it('refuses more than twenty', async () => {
    const { generateX25519Identity, identityToRecipient } = await import('age-encryption');
    const many = Array.from({ length: 21 }, async () => identityToRecipient(await generateX25519Identity()));
    const text = (await Promise.all(many)).join('\n');
    expect(() => parseRecipients(text)).toThrow(/at most 20/);
  });
});

describe('parseIdentities', () => {
  it('reads what age-keygen writes', () => {
    expect(parseIdentities(`# created: 2026-11-23\n# public key: age1…\n${sample.identities[0]}\n`)).toEqual([
      sample.identities[0],
    ]);
  });

  it('refuses a recipient, and a file of comments', () => {
    expect(() => parseIdentities(`${sample.recipients[0]}\n`)).toThrow(/line 1 is not an age identity/);
    expect(() => parseIdentities('# nothing\n')).toThrow(/holds no identity/);
    expect(errorOf(() => parseIdentities(''))).toMatchObject({ code: 'IDENTITIES_INVALID' });
  });
});
