import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configHash, loadConfig, parseConfig } from '../../agent/config/load.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-config-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const minimal = [
  'facility: { code: "1312345670", name: 架橋病院 }',
  'state: state',
  'keys: { site: { file: site.key } }',
].join('\n');

const withSources = (...sources: string[]) =>
  `${minimal}\nsources:\n${sources.map((source) => `  - ${source}\n`).join('')}`;

/** The problems, one a line, or '' for a configuration that is valid. */
function problems(text: string, path = '/etc/kakehashi/connector.yaml'): string {
  try {
    parseConfig(text, path);
    return '';
  } catch (error) {
    if (!(error instanceof ConnectorError) || error.code !== 'CONFIG_INVALID') throw error;
    return String(error.details['problems']);
  }
}

describe('a configuration with mistakes', () => {
  it('shows all of them with line, column, rule, value and nearest key', () => {
    const text = [
      'facility: { code: 1312345670, name: 架橋病院 }',
      'state: state',
      'keys: { site: { file: site.key } }',
      'sources:',
      '  - name: ehr-feed',
      '    kind: hl7v2',
      '    lissen: 127.0.0.1:2575',
      '    patientId: { strip: leading-zero }',
      'register: { waitingDays: 20 }',
      'consol: { listen: 127.0.0.1:1 }',
    ].join('\n');
    expect(problems(text).split('\n')).toEqual([
      'connector.yaml:1:19 facility.code: expected the code in quotes, 10 digits: a number would lose its leading zero, got 1312345670',
      'connector.yaml:5:5 sources[0].listen: is required: expected an address and a port such as 127.0.0.1:2575 or [::1]:0',
      'connector.yaml:7:5 sources[0].lissen: unknown key (nearest key: listen)',
      'connector.yaml:8:25 sources[0].patientId.strip: expected none or leading-zeros or non-digits, got "leading-zero"',
      'connector.yaml:9:26 register.waitingDays: expected at least 30 (days after the notice, by law), got 20',
      'connector.yaml:10:1 consol: unknown key (nearest key: console)',
    ]);
  });

  it('counts them in the sentence', () => {
    expect(() => parseConfig('state: 1', 'a.yaml')).toThrow('a.yaml has 3 problem(s):');
  });

  it('names the kinds of source there are', () => {
    expect(problems(withSources('{ name: a, kind: hl7v3 }'))).toContain(
      'sources[0].kind: expected hl7v2 or dicom or ssmix2 or fhir, got "hl7v3"',
    );
  });

  it('finds two sources of one name, also beside another mistake', () => {
    const source = '{ name: a, kind: hl7v2, listen: "127.0.0.1:0" }';
    const expected =
      'connector.yaml:6:13 sources[1].name: expected a name of its own; sources[0] has this one, got "a"';
    expect(problems(withSources(source, source))).toBe(expected);
    expect(problems(`${withSources(source, source)}hold: 5`).split('\n')[0]).toBe(expected);
  });

  it('finds a port used twice, also on every address and against a default', () => {
    const source = (name: string, listen: string) => `{ name: ${name}, kind: hl7v2, listen: "${listen}" }`;
    expect(problems(withSources(source('a', '127.0.0.1:2575'), source('b', '0.0.0.0:2575')))).toBe(
      'connector.yaml:6:37 sources[1].listen: expected a port of its own; sources[0].listen listens on 127.0.0.1:2575',
    );
    expect(problems(withSources(source('a', '127.0.0.1:8420')))).toContain('8420');
    expect(problems(`${withSources(source('a', '127.0.0.1:8420'))}hold: 5`)).toContain('listens on 127.0.0.1:8420');
    expect(problems(withSources(source('a', '127.0.0.1:0'), source('b', '127.0.0.1:0')))).toBe('');
    expect(problems(withSources(source('a', '127.0.0.1:2575'), source('b', '127.0.0.2:2575')))).toBe('');
  });

  it('does not let held records expire before their waiting days are over', () => {
    expect(problems(`${minimal}\nregister: { waitingDays: 60 }`)).toBe(
      'connector.yaml:1:1 hold.days: expected at least 74 days (register.waitingDays 60 + 14), got 45',
    );
    expect(problems(`${minimal}\nregister: { waitingDays: 60 }\nhold: { days: 74 }`)).toBe('');
    expect(problems(`${minimal}\nhold: { days: 43 }`)).toContain('expected at least 44');
  });

  it('does not let a source succeed one that still runs', () => {
    const old = '{ name: a, kind: hl7v2, listen: "127.0.0.1:0" }';
    const successor = '{ name: b, kind: hl7v2, listen: "127.0.0.1:0", succeeds: a }';
    expect(problems(withSources(old, successor))).toContain(
      'sources[1].succeeds: expected the name of a source that is no longer',
    );
    expect(problems(withSources(successor))).toBe('');
  });

  it('tells of every rule of a producer at once', () => {
    const found = problems(
      `${minimal}\nproducers:\n  - { name: ldi, url: "http://intake.example/", bandwidth: fast, receiver: sftp }`,
    );
    for (const part of ['basis', 'recipients', 'receiptKeys', 'tls'])
      expect(found).toContain(`producers[0].${part}: is required`);
    expect(found).toContain('producers[0].url: expected an https URL');
    expect(found).toContain('producers[0].bandwidth: expected a rate such as 20M');
    expect(found).toContain('producers[0].receiver: expected kakehashi or tus, got "sftp"');
  });

  it('points at what is not YAML, without repeating the text of the line', () => {
    expect(problems(`${minimal}\nbad: [hunter2`)).toMatch(/^connector\.yaml:4:\d+ not YAML: /);
    expect(problems(`${minimal}\nbad: [hunter2`)).not.toContain('hunter2');
    expect(problems(`${minimal}\nstate: other`)).toBe('connector.yaml:4:1 not YAML: Map keys must be unique');
  });

  it('may not use aliases, not even one that holds itself', () => {
    expect(problems(`${minimal}\nhold: &a { days: *a }`)).toBe(
      'connector.yaml:4:18 an alias (*name) is not read here; write the block out',
    );
  });

  it('is refused, and not followed, when it is nested without end', () => {
    const found = problems('['.repeat(10_000)).split('\n');
    expect(found[0]).toContain('not YAML');
    expect(found).toHaveLength(51);
    expect(found[50]).toMatch(/^and \d+ more$/);
  });

  it('is refused when it is empty, a list or a word', () => {
    for (const text of ['', '- a', 'word', '# nothing']) expect(problems(text)).not.toBe('');
  });

  it('answers any text with a configuration or with CONFIG_INVALID', () => {
    const piece = fc.constantFrom(
      ...minimal.split('\n'),
      'sources:',
      '  - {',
      '}',
      ' : ',
      '\t',
      'hold: &a { days: *a }',
      'null',
      '"',
      '- [a',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string({ unit: 'grapheme' })), { maxLength: 8 }), (lines) => {
        expect(() => problems(lines.join('\n'))).not.toThrow();
      }),
    );
  });
});

describe('a secret', () => {
  const secrets = [
    'keys: { site: hunter2 }',
    'keys: { site: { value: hunter2 } }',
    'keys: { site: { file: [hunter2] } }',
    'keys: { site: [hunter2] }',
    'keys: { site: { env: hunter2 } }',
    'keys: { site: { file: site.key }, recovery: { recipient: AGE-SECRET-KEY-hunter2 } }',
    'password: hunter2',
    'facility: { code: "-----BEGIN PRIVATE KEY----- hunter2" }',
    'producers: [{ url: "https://user:hunter2@intake.example/" }]',
    'producers: [{ proxy: { url: "http://user:hunter2@proxy.example:8080", password: hunter2 } }]',
    'producers: [{ tls: { key: { pem: hunter2 } } }]',
  ];

  it.each(secrets)('is not printed, and not accepted: %s', (line) => {
    const found = problems(line);
    expect(found).not.toBe('');
    expect(found).not.toContain('hunter2');
  });

  it('is a reference', () => {
    const config = parseConfig(minimal.replace('{ file: site.key }', '{ credential: site-key }'), '/etc/k/c.yaml');
    expect(config.keys.site).toEqual({ credential: 'site-key' });
  });
});

describe('a valid configuration', () => {
  it('makes relative paths absolute against its own folder, wherever they stand', () => {
    const path = join(folder, 'connector.yaml');
    writeFileSync(
      path,
      withSources('{ name: a, kind: hl7v2, listen: "127.0.0.1:0", tls: { cert: a.pem, key: /b.key, ca: ../c.pem } }'),
    );
    const config = loadConfig(path);
    expect(config.state).toBe(join(folder, 'state'));
    expect(config.keys.site).toEqual({ file: join(folder, 'site.key') });
    expect(config.register.folder).toBe(join(folder, 'state', 'register'));
    expect(config.file).toBe(path);
    const tls = { cert: join(folder, 'a.pem'), key: '/b.key', ca: join(folder, '../c.pem') };
    expect(config.sources[0]).toMatchObject({ tls });
  });

  it('is frozen to its depths and has the hash of its text', () => {
    const config = parseConfig(minimal, '/etc/kakehashi/connector.yaml');
    const frozen = (value: unknown): boolean =>
      typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
    expect(frozen(config)).toBe(true);
    expect(config.hash).toBe(configHash(minimal));
    expect(configHash(`${minimal} `)).not.toBe(config.hash);
  });

  it('speaks of a URL with its last slash, so that paths can be put behind it', () => {
    const producer =
      '{ name: ldi, basis: article-57, url: "https://intake.example/a", recipients: r, receiptKeys: k, tls: { ca: a, cert: b, key: c } }';
    expect(parseConfig(`${minimal}\nproducers: [${producer}]`, 'c.yaml').producers[0]?.url).toBe(
      'https://intake.example/a/',
    );
  });
});

describe('a configuration file', () => {
  it('that is missing or too large is unreadable', () => {
    const path = join(folder, 'connector.yaml');
    const code = () => {
      try {
        return loadConfig(path).file;
      } catch (error) {
        return error instanceof ConnectorError ? `${error.code} ${error.details['reason']}` : error;
      }
    };
    expect(code()).toBe('CONFIG_UNREADABLE ENOENT');
    writeFileSync(path, `${minimal}\n${'#'.repeat(1024 * 1024)}`);
    expect(code()).toContain('CONFIG_UNREADABLE it is larger than');
  });
});
