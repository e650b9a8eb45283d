/**
 * The page as Chromium shows it: to an eye (screenshots, nothing over the edge, nothing hidden), to a screen reader (axe),
 * in both languages, light and dark, in each state, without scripts.
 *
 * There is no golden image: another version of a font or of Chromium would change it, and nobody could say whether the
 * page is worse. What is compared are shots of one run.
 */
import axe from 'axe-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LocalServer } from '../../agent/base/local-server.ts';
import { consoleServer } from '../../agent/console/index.ts';
import { type Language, languages } from '../../agent/console/language.ts';
import { stateNames, type StateWord, type StatusInputs } from '../../agent/health/index.ts';
import { dayMs, hourMs } from '../base/fake-clock.ts';
import { healthy, now, statusWith } from '../health/sample-status.ts';
import { launchBrowser } from './browser.ts';

const [source, producer] = [healthy().sources[0] ?? fail(), healthy().producers[0] ?? fail()];

/** Everything at once that a page can show. */
const troubled: Partial<StatusInputs> = {
  sources: [
    source,
    { ...source, name: 'a-name-of-thirty-two-characters-x', kind: 'dicom', code: 'FILE_UNREADABLE' },
    { ...source, name: 'ehr-fhir', kind: 'fhir', isPaused: true },
    { ...source, name: 'ssmix', kind: 'ssmix2', silence: { silentMs: 9 * hourMs, usualMs: hourMs, isUnusual: true } },
  ],
  producers: [{ ...producer, code: 'PRODUCER_REFUSED', oldestUnsentAt: now - 80 * hourMs }],
  register: { fresh: false, asOf: now - 200 * hourMs },
  clock: { trusted: false, reason: 'ahead', offsetMs: 40 * dayMs },
  disk: { ...healthy().disk, state: 'low' },
  certificates: [{ name: 'client ldi', notAfter: now - dayMs }],
  jobs: [
    { name: 'pull ehr-fhir', missed: 2, running: true, paused: false, lastCode: 'JOB_FAILED', nextDue: now + hourMs },
  ],
  quarantined: 12_345_678,
  recentCrashes: 2,
};

const states: Readonly<Record<StateWord, Partial<StatusInputs>>> = {
  ok: {},
  attention: troubled,
  paused: { isPaused: true },
  'stopped-by-fault': { fault: 'STATE_UNSAFE' },
  safe: { isSafeMode: true, recentCrashes: 5 },
};

const stateWords = Object.keys(states) as StateWord[];

let browser: Browser;
let server: LocalServer;
let port = 0;
let shown: StateWord = 'ok';

beforeAll(async () => {
  server = consoleServer(() => statusWith(states[shown]));
  port = (await server.listen({ host: '127.0.0.1', port: 0 })).port;
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

/** Shows a state to somebody new, and forgets them. */
async function visit<T>(
  state: StateWord,
  language: Language,
  look: (page: Page) => Promise<T>,
  options: BrowserContextOptions = {},
): Promise<T> {
  shown = state;
  const context = await browser.newContext({ locale: language === 'ja' ? 'ja-JP' : 'en-GB', ...options });
  try {
    const page = await context.newPage();
    await page.goto(`http://127.0.0.1:${port}/`);
    return await look(page);
  } finally {
    await context.close();
  }
}

/** Each state once, in turn as it can look; the fullest one in both languages. */
const looks = [
  { state: 'ok', language: 'ja', scheme: 'light' },
  { state: 'attention', language: 'ja', scheme: 'dark' },
  { state: 'attention', language: 'en', scheme: 'light' },
  { state: 'paused', language: 'ja', scheme: 'light' },
  { state: 'stopped-by-fault', language: 'en', scheme: 'dark' },
  { state: 'safe', language: 'ja', scheme: 'dark' },
] as const;

describe('axe', () => {
  it.each(looks)('finds nothing to object to: $state, $language, $scheme', async ({ state, language, scheme }) => {
    const found = await visit(state, language, audit, { colorScheme: scheme });
    expect(found).toEqual([]);
  });

  it('would object to a page with a picture without words, and to one that reloads itself', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.setContent('<meta http-equiv="refresh" content="30"><img src="data:,"><p style="color:#bbb">pale</p>');
    const found = await audit(page);
    await context.close();
    expect(found.map((each) => each.split(':')[0])).toEqual(
      expect.arrayContaining(['color-contrast', 'html-has-lang', 'image-alt', 'meta-refresh']),
    );
  });
});

const auditedTags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** `rule: element` for each violation of WCAG 2.2 A and AA and of good practice. */
async function audit(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>(
    `axe.run({ runOnly: ${JSON.stringify(auditedTags)}, resultTypes: ['violations'] })`,
  );
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

/** What nobody may have to look for. */
const essentials = [
  'h1',
  '.as-of time',
  '.as-of a',
  'nav a',
  '#power-off',
  '.answer',
  '#sources',
  '#held',
  '.figure',
  '.note',
];

/** Runs in the page: the elements that reach over the right edge. */
const overTheEdge = `[...document.querySelectorAll('body *')]
  .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(({ outerHTML }) => outerHTML.slice(0, 80))`;

const firstTodoEnds = `document.querySelector('section.todo li').getBoundingClientRect().bottom`;

describe('a screen', () => {
  const widths = [320, 360, 1280, 2560];

  it.each(languages.flatMap((language) => widths.map((width) => ({ language, width }))))(
    'of $width pixels holds the page without scrolling sideways, $language',
    async ({ language, width }) => {
      const viewport = { width, height: 800 };
      const over = await visit('attention', language, (page) => page.evaluate<string[]>(overTheEdge), { viewport });
      expect(over).toEqual([]);
    },
  );

  it('shows the word and the first thing to do without scrolling, on a small notebook and a telephone', async () => {
    for (const viewport of [
      { width: 1280, height: 640 },
      { width: 360, height: 740 },
    ]) {
      const bottom = await visit('attention', 'ja', (page) => page.evaluate<number>(firstTodoEnds), { viewport });
      expect(bottom).toBeLessThan(viewport.height);
    }
  });

  it('is not blank, and the same page is the same picture', async () => {
    const shoot = (state: StateWord) =>
      visit(state, 'ja', (page) => page.screenshot({ fullPage: true }), { javaScriptEnabled: false });
    const first = await shoot('ok');
    expect(await coloursOf(first)).toBeGreaterThan(20);
    expect((await shoot('ok')).equals(first)).toBe(true);
    for (const state of stateWords.slice(1)) expect((await shoot(state)).equals(first), state).toBe(false);
  });

  it.each(stateWords)(
    'says the word large, with an icon and a colour of its own, and all essentials: %s',
    async (state) => {
      await visit(
        state,
        'ja',
        async (page) => {
          expect(await page.locator('h1').innerText()).toBe(stateNames[state].ja);
          expect(await page.title()).toContain(stateNames[state].ja);
          expect(await page.locator('.banner svg').isVisible()).toBe(true);
          for (const each of essentials) expect(await page.locator(each).first().isVisible(), each).toBe(true);
        },
        { javaScriptEnabled: false },
      );
    },
  );

  it('has another colour and another icon for each state', async () => {
    const looks: { colour: string; icon: string }[] = [];
    for (const state of stateWords) looks.push(await visit(state, 'ja', bannerOf));
    expect(new Set(looks.map(({ colour }) => colour)).size).toBe(stateWords.length);
    expect(new Set(looks.map(({ icon }) => icon)).size).toBe(stateWords.length);
  });
});

function bannerOf(page: Page): Promise<{ colour: string; icon: string }> {
  return page.evaluate(`(() => {
    const banner = document.querySelector('.banner');
    return { colour: getComputedStyle(banner).backgroundColor, icon: banner.querySelector('svg').innerHTML };
  })()`);
}

describe('without scripts', () => {
  it('the language changes by a link and stays over a reload', async () => {
    await visit(
      'ok',
      'ja',
      async (page) => {
        await page.getByRole('link', { name: 'English' }).click();
        expect(await page.locator('h1').innerText()).toBe('OK');
        shown = 'paused';
        await page.getByRole('link', { name: 'Reload' }).click();
        expect(await page.locator('h1').innerText()).toBe('PAUSED');
        expect(await page.locator('html').getAttribute('lang')).toBe('en');
      },
      { javaScriptEnabled: false },
    );
  });

  it('loads nothing but itself, and the browser complains of nothing', async () => {
    shown = 'attention';
    const context = await browser.newContext();
    const page = await context.newPage();
    const [asked, complaints]: [string[], string[]] = [[], []];
    page.on('request', (request) => asked.push(new URL(request.url()).host));
    page.on('console', (message) => complaints.push(message.text()));
    await page.goto(`http://127.0.0.1:${port}/`);
    await context.close();
    expect(new Set(asked)).toEqual(new Set([`127.0.0.1:${port}`]));
    expect(complaints).toEqual([]);
  });

  it('can be reached by the keyboard alone, and one sees where one is', async () => {
    await visit('ok', 'ja', async (page) => {
      const links = await page.locator('a').count();
      for (let step = 0; step < links; step++) {
        await page.keyboard.press('Tab');
        expect(await page.evaluate('getComputedStyle(document.activeElement).outlineWidth')).toBe('3px');
      }
    });
  });
});

describe('on paper', () => {
  it('the word, what to do and the numbers are there, black on white, and the links are not', async () => {
    await visit('attention', 'ja', async (page) => {
      await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
      const ink = await page.evaluate(`getComputedStyle(document.querySelector('.banner')).color`);
      const paper = await page.evaluate('getComputedStyle(document.body).backgroundColor');
      expect({ ink, paper }).toEqual({ ink: 'rgb(0, 0, 0)', paper: 'rgb(255, 255, 255)' });
      expect(await page.locator('section.todo li').first().isVisible()).toBe(true);
      expect(await page.locator('nav').isVisible()).toBe(false);
      expect((await page.pdf({ format: 'A4' })).subarray(0, 5).toString()).toBe('%PDF-');
    });
  });
});

/** How many colours a picture has: a blank one has one. */
async function coloursOf(png: Buffer): Promise<number> {
  const context = await browser.newContext();
  const page = await context.newPage();
  const count = await page.evaluate<number>(`(async () => {
    const image = new Image();
    image.src = 'data:image/png;base64,${png.toString('base64')}';
    await image.decode();
    const drawing = new OffscreenCanvas(image.width, image.height).getContext('2d');
    drawing.drawImage(image, 0, 0);
    const { data } = drawing.getImageData(0, 0, image.width, image.height);
    return new Set(new Uint32Array(data.buffer)).size;
  })()`);
  await context.close();
  return count;
}

function fail(): never {
  throw new Error('the sample has one');
}
