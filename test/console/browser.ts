/** Debian's Chromium, driven by playwright: what a hospital's person sees, without a network and without an old profile. */
import { type Browser, chromium } from 'playwright-core';

/** From `test/setup.mjs`. */
const executablePath = '/usr/bin/chromium';

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--force-color-profile=srgb',
    ],
  });
}
