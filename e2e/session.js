/** Follows a one-time link, and uses it up. */
export async function signIn(page, url) {
  await page.goto(url);
  await page.getByRole('button', { name: 'Sign in' }).click();
}
